import { describeFailure, EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { kernelBefore } from '../kernel/release.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Hooks that packets pass in the network stack, where iptables and nftables are too.

/** Which hook of the network stack, and where among those on it. */
export interface NetfilterOptions {
  /** The family whose packets pass: NFPROTO_IPV4, NFPROTO_IPV6. */
  pf: 'ipv4' | 'ipv6';
  /** Where on their way: NF_INET_PRE_ROUTING and so on. */
  hooknum: 'pre_routing' | 'local_in' | 'forward' | 'local_out' | 'post_routing';
  /** Among those that are there, the lowest first: each number is taken once, and INT32_MIN and INT32_MAX not at all. */
  priority: number;
  /** Give the program whole packets in place of fragments (kernel 6.6); before `priority` -400 there are none. */
  defrag?: boolean;
  /** A path or a descriptor. Default: the process's own. */
  netns?: string | number;
}

// linux/netfilter.h
const PF = { ipv4: 2, ipv6: 10 } as const;
const HOOKS = ['pre_routing', 'local_in', 'forward', 'local_out', 'post_routing'];

/** @internal */
export function attachNetfilter(program: ProgramRef, options: NetfilterOptions): Attached {
  const { pf, hooknum, priority, defrag = false, netns } = options;
  const target = `${pf} ${hooknum} at ${priority}`;
  const what = `attach ${program.name} to ${target}`;
  if (!Object.hasOwn(PF, pf)) throw new TypeError(`Expected ipv4 or ipv6 for pf but received ${String(pf)}`);
  if (!HOOKS.includes(hooknum)) {
    throw new TypeError(`Expected ${HOOKS.join(', ')} for hooknum but received ${String(hooknum)}`);
  }
  if (!Number.isInteger(priority) || priority <= -(2 ** 31) || priority >= 2 ** 31 - 1) {
    throw new RangeError(
      `Expected an integer inside of 32 bits for priority but received ${String(priority)}`,
    );
  }
  requireType(what, program, ['netfilter'], target);
  try {
    const number = HOOKS.indexOf(hooknum);
    return { native: program.native.attachNetfilter(PF[pf], number, priority, defrag, netns), target };
  } catch (error) {
    throw netfilterFailure(what, program, target, defrag, error);
  }
}

function netfilterFailure(
  what: string,
  program: ProgramRef,
  target: string,
  defrag: boolean,
  error: unknown,
) {
  const { words, options } = describeFailure(error, `program ${program.name}`);
  const unsupported = (feature: string, minKernel: string, hint?: string) =>
    new EbpfNotSupportedError(`${what}: ${words}`, { ...options, feature, minKernel, hint });
  if (options.code === 'EINVAL' && kernelBefore('6.4')) return unsupported('netfilter', '6.4');
  // The kernel has modprobe(8) fetch the module, and hands on what that says (net/netfilter/nf_bpf_link.c).
  if (
    defrag &&
    ['EOPNOTSUPP', 'EINVAL', 'ENOENT'].includes(options.code) &&
    options.syscall === 'bpf_link_create'
  ) {
    const hint = `it takes the module nf_defrag_${target.split(' ', 1)[0]}`;
    return unsupported('netfilter defrag', '6.6', hint);
  }
  if (options.code === 'EBUSY') {
    return new EbpfAttachError(`${what}: ${words}`, {
      ...options,
      target,
      hint: 'something else has this priority there: take the one beside it',
    });
  }
  return attachFailure(what, program.name, { kind: 'netfilter', target }, error, { needed: ['CAP_BPF'] });
}
