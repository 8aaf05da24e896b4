import { readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { native } from '../addon/native.ts';
import { type EbpfErrorOptions, EbpfPermissionError } from '../core/errors.ts';
import { kernelBefore } from './release.ts';
import { textOf } from './text.ts';

// linux/capability.h, bit by bit.
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
] as const;

export type Capability =
  | 'CAP_BPF'
  | 'CAP_NET_ADMIN'
  | 'CAP_PERFMON'
  | 'CAP_SETGID'
  | 'CAP_SETUID'
  | 'CAP_SYS_ADMIN';

/**
 * The process's effective capabilities, by name. One that is newer than this list is `CAP_` and its number.
 */
export function effectiveCapabilities(): string[] {
  const mask = BigInt(`0x${statusField('CapEff') ?? '0'}`);
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => ((mask >> BigInt(bit)) & 1n) === 1n)
    .map((bit) => CAPABILITIES[bit] ?? `CAP_${bit}`);
}

/**
 * The capabilities in `needed` that this process lacks. CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON
 * (capabilities(7)). A process in a user namespace lacks them all: bpf(2) checks those of the initial
 * namespace.
 */
export function missingCapabilities(needed: readonly Capability[]): Capability[] {
  const effective = new Set(inUserNamespace() ? [] : effectiveCapabilities());
  return [...new Set(needed)].filter(
    (name) =>
      !effective.has(name) &&
      !((name === 'CAP_BPF' || name === 'CAP_PERFMON') && effective.has('CAP_SYS_ADMIN')),
  );
}

/**
 * The hint for an EPERM: the missing capabilities, or, if none is missing, the cause that a few other queries
 * of the kernel point to. `unprivileged`: a sysctl may allow the operation without CAP_BPF.
 */
export function permissionHint(missing: readonly Capability[], { unprivileged = false } = {}): string {
  if (missing.length === 0) return refusalHint();
  const names = missing.join(', ');
  if (inUserNamespace() && effectiveCapabilities().some((name) => missing.some((other) => other === name))) {
    const token = missing.includes('CAP_SYS_ADMIN') ? '' : ', or a BPF token (Linux 6.9)';
    return `capabilities of a user namespace do not count here: give the process ${names} outside of it${token}`;
  }
  const hint = `run as root, or give the process ${names}`;
  const disabled = unprivilegedBpfDisabled();
  if (!unprivileged || !missing.includes('CAP_BPF') || !disabled) return hint;
  return `${hint}: kernel.unprivileged_bpf_disabled is ${disabled}`;
}

// The hint for an EPERM that a process with every capability gets: the first cause that can be found.
function refusalHint(): string {
  const { command, map } = native().refusals();
  const { EPERM } = constants.errno;
  if (command === EPERM) {
    return statusField('Seccomp') === '2'
      ? "a seccomp filter forbids bpf(2): allow it in the container's profile"
      : 'bpf(2) is refused before the kernel looks at the call: by a seccomp filter or a security module';
  }
  const limit = memlockLimit();
  // Before 5.11, maps and programs count against RLIMIT_MEMLOCK, and exceeding it gives EPERM. libbpf raises
  // the limit if it may.
  if (
    kernelBefore('5.11') &&
    limit !== 'unlimited' &&
    !effectiveCapabilities().includes('CAP_SYS_RESOURCE')
  ) {
    return `the memlock limit is ${limit} bytes, and maps count against it before Linux 5.11: ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit`;
  }
  const locked = lockdown();
  if (locked === 'confidentiality') {
    return 'kernel lockdown is "confidentiality", which keeps BPF from reading kernel memory: boot without lockdown=confidentiality';
  }
  if (map === EPERM) {
    return 'the process has the capabilities, but bpf(2) is still refused: a security module forbids it, see the audit log';
  }
  return `the process has the capabilities, and bpf(2) works otherwise: the kernel or a security module forbids just this call; kernel lockdown is ${locked}`;
}

/**
 * Makes the error for an operation that the kernel refused with EPERM and that needs the capabilities
 * `needed`. With `unprivileged`, the hint also considers whether unprivileged processes may use bpf(2).
 */
export function permissionError(
  message: string,
  options: EbpfErrorOptions,
  needed: readonly Capability[],
  { unprivileged = false } = {},
): EbpfPermissionError {
  const missing = missingCapabilities(needed);
  const hint = permissionHint(missing, { unprivileged });
  return new EbpfPermissionError(message, { ...options, missing, hint });
}

/** The capabilities that loading a program of `type` needs (kernel/bpf/syscall.c, bpf_prog_load). */
export function capabilitiesToLoad(type: string): Capability[] {
  switch (type) {
    case 'kprobe':
    case 'tracepoint':
    case 'raw_tracepoint':
    case 'raw_tracepoint_writable':
    case 'tracing':
    case 'perf_event':
    case 'lsm':
    case 'struct_ops':
      return ['CAP_BPF', 'CAP_PERFMON'];
    case 'ext':
      return ['CAP_BPF', 'CAP_PERFMON', 'CAP_NET_ADMIN'];
    case 'socket_filter':
    case 'syscall':
    case 'cgroup_skb':
    case 'sk_lookup':
    case 'sk_reuseport':
    case 'lirc_mode2':
      return ['CAP_BPF'];
    default:
      return ['CAP_BPF', 'CAP_NET_ADMIN'];
  }
}

/** Whether kernel.unprivileged_bpf_disabled=0 allows loading a program of `type` without capabilities. */
export function unprivilegedType(type: string): boolean {
  return type === 'socket_filter' || type === 'cgroup_skb';
}

/**
 * The capabilities that creating a map of `type` needs if kernel.unprivileged_bpf_disabled is set
 * (kernel/bpf/syscall.c, map_create).
 */
export function capabilitiesToCreate(type: string): Capability[] {
  switch (type) {
    case 'sockmap':
    case 'sockhash':
    case 'devmap':
    case 'devmap_hash':
    case 'xskmap':
      return ['CAP_BPF', 'CAP_NET_ADMIN'];
    default:
      return ['CAP_BPF'];
  }
}

/** The kernel's lockdown mode: `none`, `integrity`, `confidentiality`, or `unknown` if it cannot be read. */
export function lockdown(): string {
  const text = textOf('/sys/kernel/security/lockdown') ?? native().lockdown();
  // ENOENT in a securityfs that is mounted: the kernel has no lockdown.
  if (typeof text === 'number') return text === constants.errno.ENOENT ? 'none' : 'unknown';
  return /\[(\w+)\]/.exec(text)?.[1] ?? 'unknown';
}

/**
 * kernel.unprivileged_bpf_disabled: 0 allows unprivileged use, 1 and 2 require CAP_BPF, 1 until the next
 * boot. Undefined if it cannot be read.
 */
export function unprivilegedBpfDisabled(): number | undefined {
  const text = textOf('/proc/sys/kernel/unprivileged_bpf_disabled');
  return text === undefined ? undefined : Number(text);
}

/** The soft RLIMIT_MEMLOCK, in bytes. */
export function memlockLimit(): number | 'unlimited' {
  const soft = /^Max locked memory\s+(\S+)/m.exec(textOf('/proc/self/limits') ?? '')?.[1];
  return soft === undefined || soft === 'unlimited' ? 'unlimited' : Number(soft);
}

/**
 * Whether the process is outside the initial user namespace, whose inode number is fixed
 * (PROC_USER_INIT_INO).
 */
export function inUserNamespace(): boolean {
  try {
    return readlinkSync('/proc/self/ns/user') !== 'user:[4026531837]';
  } catch {
    return false; // a kernel without user namespaces
  }
}

function statusField(name: string): string | undefined {
  return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(textOf('/proc/self/status') ?? '')?.[1];
}
