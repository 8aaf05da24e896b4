import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';

// linux/magic.h. debugfs mounts a tracefs in itself at the first access.
const TRACEFS_MAGIC = 0x74726163;
const MOUNT_POINTS = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];

/** The mount point of tracefs; undefined if it is not mounted. */
export function tracefs(): string | undefined {
  return MOUNT_POINTS.find((path) => {
    try {
      return statfsSync(path).type === TRACEFS_MAGIC;
    } catch {
      return false;
    }
  });
}

/** The kernel's number of a tracepoint, which only tracefs has. */
export function tracepointNumber(what: string, category: string, name: string): number {
  // Both are used in a path.
  for (const [member, value] of Object.entries({ category, name })) {
    if (!/^[A-Za-z0-9_:-]+$/.test(value)) {
      throw new TypeError(`Expected a tracepoint's ${member} but received ${JSON.stringify(value)}`);
    }
  }
  const root = tracefs();
  if (root === undefined) throw noTracefs(what);
  try {
    return Number(readFileSync(`${root}/events/${category}/${name}/id`, 'latin1'));
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') {
      throw new EbpfAttachError(`${what}: ${message}`, { code, target: `${category}/${name}`, cause: error });
    }
    throw noTracepoint(what, `${category}/${name}`, namesNear(root, category, name));
  }
}

/**
 * The error for a tracepoint that the kernel does not have.
 *
 * @param names the nearest names
 */
export function noTracepoint(what: string, target: string, names: readonly string[]): EbpfAttachError {
  return new EbpfAttachError(`${what}: the kernel has no such tracepoint`, {
    code: 'ERR_EBPF_NO_TRACEPOINT',
    target,
    hint: names.length > 0 ? `there are ${names.join(', ')}` : undefined,
  });
}

/** Raw tracepoints have the names of the ordinary ones, and of a few that tracefs does not list. */
export function rawTracepointsNear(name: string): string[] {
  const root = tracefs();
  if (root === undefined) return [];
  const all = folders(`${root}/events`).flatMap((category) => folders(`${root}/events/${category}`));
  return nearest(name, ['sys_enter', 'sys_exit', ...all]);
}

function namesNear(root: string, category: string, name: string): string[] {
  const inCategory = folders(`${root}/events/${category}`);
  if (inCategory.length > 0) return nearest(name, inCategory).map((near) => `${category}/${near}`);
  return nearest(category, folders(`${root}/events`)).map((near) => `${near}/…`);
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function noTracefs(what: string): EbpfNotSupportedError {
  return new EbpfNotSupportedError(
    `${what}: tracefs is not mounted, and only it has the numbers of tracepoints`,
    {
      feature: 'tracefs',
      hint: 'mount -t tracefs tracefs /sys/kernel/tracing',
    },
  );
}
