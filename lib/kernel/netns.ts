import { fstatSync, readdirSync, statSync } from 'node:fs';
import { EbpfAttachError } from '../core/errors.ts';

// Network namespaces. An ifindex is unique only within its namespace.

const OWN = '/proc/self/ns/net';

/** An identity by which network namespaces can be compared. @internal */
export function netnsIdentity(netns: string | number | undefined): string {
  try {
    const stat = typeof netns === 'number' ? fstatSync(netns) : statSync(netns ?? OWN);
    return `${stat.dev}:${stat.ino}`;
  } catch (error) {
    const { code = 'ENOENT', message } = error as NodeJS.ErrnoException;
    throw new EbpfAttachError(`open network namespace ${netns}: ${message}`, {
      code,
      target: String(netns),
    });
  }
}

/**
 * Finds the network namespace with this identity among those of ip-netns(8) and those of processes. `netns`
 * is its path, or undefined for the process's own. Returns undefined if there is none.
 *
 * @internal
 */
export function findNetns(identity: string): { netns: string | undefined } | undefined {
  if (identityOf(OWN) === identity) return { netns: undefined };
  const named = entriesOf('/run/netns').map((name) => `/run/netns/${name}`);
  const held = entriesOf('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `/proc/${pid}/ns/net`);
  const netns = [...named, ...held].find((path) => identityOf(path) === identity);
  return netns === undefined ? undefined : { netns };
}

function identityOf(path: string): string | undefined {
  try {
    return netnsIdentity(path);
  } catch {
    return undefined; // it is gone, or not readable
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
