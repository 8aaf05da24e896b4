import { fstatSync, readdirSync, statSync } from 'node:fs';
import { EbpfAttachError } from '../core/errors.ts';

// Network namespaces. An ifindex is unique only within one.

const OWN = '/proc/self/ns/net';

/** Tells namespaces apart. @internal */
export function netnsIdentity(netns: string | number | undefined): string {
  try {
    const stat = typeof netns === 'number' ? fstatSync(netns) : statSync(netns ?? OWN);
    return `${stat.dev}:${stat.ino}`;
  } catch (error) {
    const { code = 'ENOENT', message } = error as NodeJS.ErrnoException;
    throw new EbpfAttachError(`look into network namespace ${netns}: ${message}`, {
      code,
      target: String(netns),
    });
  }
}

/**
 * The path of the namespace with this identity; `netns` undefined for the process's own, nothing where it is not to be
 * found: those that ip-netns(8) names are looked at, and those of processes.
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
    return undefined; // it is gone, or not ours to see
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
