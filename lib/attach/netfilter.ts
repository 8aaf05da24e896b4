import { describeFailure, EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { kernelBefore } from '../kernel/release.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// The netfilter hooks of the network stack, which iptables and nftables use too.

/** Options of attachNetfilter(). */
export interface NetfilterOptions {
  /** The protocol family: NFPROTO_IPV4 or NFPROTO_IPV6. */
  pf: 'ipv4' | 'ipv6';
  /** The hook: NF_INET_PRE_ROUTING and so on. */
  hooknum: 'pre_routing' | 'local_in' | 'forward' | 'local_out' | 'post_routing';
  /**
   * Programs run in ascending priority. Priorities are unique per hook; INT32_MIN and INT32_MAX are not
   * allowed.
   */
  priority: number;
  /**
   * Pass reassembled packets instead of fragments to the program (kernel 6.6). Requires a `priority` above
   * -400.
   */
  defrag?: boolean;
  /** Path or descriptor of the network namespace. Default: the process's own. */
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
      `Expected an integer from -2147483647 to 2147483646 for priority but received ${String(priority)}`,
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
  // The kernel loads the module with modprobe(8), and passes on its error (net/netfilter/nf_bpf_link.c).
  if (
    defrag &&
    ['EOPNOTSUPP', 'EINVAL', 'ENOENT'].includes(options.code) &&
    options.syscall === 'bpf_link_create'
  ) {
    const hint = `defrag needs the module nf_defrag_${target.split(' ', 1)[0]}`;
    return unsupported('netfilter defrag', '6.6', hint);
  }
  if (options.code === 'EBUSY') {
    return new EbpfAttachError(`${what}: ${words}`, {
      ...options,
      target,
      hint: 'another hook function has this priority: use the next one',
    });
  }
  return attachFailure(what, program.name, { kind: 'netfilter', target }, error, { needed: ['CAP_BPF'] });
}
