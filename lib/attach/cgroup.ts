import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import {
  describeFailure,
  EbpfAttachError,
  type EbpfError,
  EbpfMapError,
  EbpfPermissionError,
  type NativeFailure,
} from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { missingCapabilities, permissionError, permissionHint } from '../kernel/capabilities.ts';
import type { BpfMap } from '../map/map.ts';
import { requireType } from './failure.ts';

// Programs on the directories of a cgroup v2 file system.

/** Options of attachCgroup(). */
export interface CgroupOptions {
  /**
   * The kernel's name of the attach type: `cgroup_inet_ingress`, `cgroup_inet4_connect`, … Default: the one
   * that the SEC() names. Required if it names none (`cgroup/skb`), and for a program that was opened by pin
   * or id.
   */
  attachType?: string;
}

const TYPES = [
  'cgroup_skb',
  'cgroup_sock',
  'cgroup_sock_addr',
  'cgroup_device',
  'cgroup_sysctl',
  'cgroup_sockopt',
  'sock_ops',
];

/**
 * Checks the arguments of attachCgroup().
 *
 * @throws EbpfAttachError `ERR_EBPF_PROGRAM_TYPE`; `ERR_EBPF_NO_TARGET` if the attach type is unknown
 */
export function checkCgroupProgram(
  what: string,
  program: { type: string; section: string },
  path: string,
  options: CgroupOptions,
): void {
  if (typeof path !== 'string') {
    throw new TypeError(`Expected a path for the cgroup but received ${typeof path}`);
  }
  requireType(what, program, TYPES, path, 'one for a cgroup');
  // libbpf treats SEC("cgroup/skb") as ingress, but the author of the object did not write that.
  if (options.attachType === undefined && /^$|^cgroup\/skb$/.test(program.section)) {
    const example =
      program.type === 'cgroup_skb' ? 'cgroup_inet_ingress or cgroup_inet_egress' : 'cgroup_inet4_connect';
    throw new EbpfAttachError(`${what}: the attach type is unknown`, {
      code: 'ERR_EBPF_NO_TARGET',
      target: path,
      hint: `pass attachType, such as ${example}`,
    });
  }
}

/** The public error of a failed attempt to attach to a cgroup. */
export function cgroupFailure(what: string, program: string, path: string, error: unknown): EbpfError {
  const { words, options } = describeFailure(error, `program ${program}`);
  const message = `${what}: ${words}`;
  switch (options.code) {
    case 'ENOENT':
      return new EbpfAttachError(`${what}: no such folder`, {
        ...options,
        code: 'ERR_EBPF_NO_CGROUP',
        target: path,
        hint: siblingsHint(path) ?? mountHint(),
      });
    case 'ENOTDIR':
    case 'EBADF': // kernel/cgroup/cgroup.c, cgroup_get_from_fd; also for a folder of cgroup v1
      return new EbpfAttachError(`${what}: not a cgroup v2 directory`, {
        ...options,
        code: 'ERR_EBPF_NO_CGROUP',
        target: path,
        hint: mountHint(),
      });
    case 'EPERM':
    case 'EACCES': {
      const missing = missingCapabilities(['CAP_BPF', 'CAP_NET_ADMIN']);
      if (options.syscall === 'open') {
        const hint = 'the folder cannot be opened: check its permissions';
        return new EbpfPermissionError(message, { ...options, missing: [], hint });
      }
      if (missing.length > 0) return permissionError(message, options, missing);
      // kernel/bpf/cgroup.c, hierarchy_allows_attach
      return new EbpfAttachError(message, {
        ...options,
        target: path,
        hint: `a cgroup above it may have a program that allows none below (see bpftool cgroup tree); ${permissionHint(missing)}`,
      });
    }
    case 'EINVAL':
      return new EbpfAttachError(message, {
        ...options,
        target: path,
        hint: 'the program was loaded for another attachType',
      });
  }
  return new EbpfAttachError(message, { ...options, target: path });
}

/** Stores a cgroup in the first row of a cgroup_array, which keeps it alive. */
export function putCgroup(what: string, map: BpfMap, path: string): void {
  let folder: number;
  try {
    folder = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw cgroupFailure(what, map.name, path, asNative(error, 'open'));
  }
  try {
    map.set(0, new Uint8Array(Uint32Array.of(folder).buffer));
  } catch (error) {
    if (!(error instanceof EbpfMapError)) throw error;
    throw cgroupFailure(what, map.name, path, asNative(error, 'bpf_map_update_elem'));
  } finally {
    closeSync(folder);
  }
}

function asNative(error: unknown, operation: string): NativeFailure {
  const { errno = 0, message } = error as NodeJS.ErrnoException;
  return Object.assign(new Error(message), { operation, errno: Math.abs(errno) });
}

function siblingsHint(path: string): string | undefined {
  const above = dirname(path);
  if (!existsSync(`${above}/cgroup.procs`)) return undefined;
  const folders = readdirSync(above, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const names = nearest(
    basename(path),
    folders.map((entry) => entry.name),
  );
  return names.length > 0 ? `there are ${names.join(', ')}` : undefined;
}

function mountHint(): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const at = mounts.find((line) => / - cgroup2 /.test(line))?.split(' ')[4];
  return at === undefined
    ? 'mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup'
    : `the folders of ${at} are cgroups`;
}
