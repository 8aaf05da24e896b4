import { readFileSync } from 'node:fs';
import { type EbpfErrorOptions, EbpfPermissionError } from './errors.ts';

// linux/capability.h
const CAPABILITY_BITS = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n, CAP_PERFMON: 38n, CAP_BPF: 39n } as const;
export type Capability = keyof typeof CAPABILITY_BITS;

/** What of `needed` this process lacks. CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON (capabilities(7)). */
export function missingCapabilities(needed: readonly Capability[]): Capability[] {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  const has = (name: Capability) => ((BigInt(`0x${effective}`) >> CAPABILITY_BITS[name]) & 1n) === 1n;
  return [...new Set(needed)].filter(
    (name) => !has(name) && !((name === 'CAP_BPF' || name === 'CAP_PERFMON') && has('CAP_SYS_ADMIN')),
  );
}

/** What to do about an EPERM, from what the process lacks. */
export function permissionHint(missing: readonly Capability[]): string {
  if (missing.length === 0) {
    return 'the capabilities are there: look at kernel lockdown, seccomp, the memlock limit and kernel.unprivileged_bpf_disabled';
  }
  return `run as root, or give the process ${missing.join(', ')}`;
}

/** An EPERM of an operation that takes `needed`. */
export function permissionError(
  message: string,
  options: EbpfErrorOptions,
  needed: readonly Capability[],
): EbpfPermissionError {
  const missing = missingCapabilities(needed);
  return new EbpfPermissionError(message, { ...options, missing, hint: permissionHint(missing) });
}

/** What loading a program of `type` takes (kernel/bpf/syscall.c, bpf_prog_load). */
export function capabilitiesToLoad(type: string): Capability[] {
  switch (type) {
    case 'kprobe':
    case 'tracepoint':
    case 'raw_tracepoint':
    case 'raw_tracepoint_writable':
    case 'tracing':
    case 'perf_event':
    case 'lsm':
    case 'ext':
      return ['CAP_BPF', 'CAP_PERFMON'];
    case 'socket_filter':
    case 'syscall':
    case 'cgroup_skb':
      return ['CAP_BPF'];
    default:
      return ['CAP_BPF', 'CAP_NET_ADMIN'];
  }
}
