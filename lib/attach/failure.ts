import type { NativeLink } from '../addon/binding.ts';
import { describeFailure, EbpfAttachError, type EbpfError, EbpfNotSupportedError } from '../core/errors.ts';
import { type Capability, permissionError } from '../kernel/capabilities.ts';
import { noTracepoint, rawTracepointsNear } from '../kernel/tracefs.ts';
import type { LinkOwner } from '../link/link.ts';
import { attachPoint } from '../object-file/section.ts';

// What all kinds of attachments share: where a SEC() attaches, checks, and the errors of failed attempts.

/** A new attachment, before a BpfLink owns it. */
export interface Attached {
  native: NativeLink;
  /** The words for the target. */
  target: string;
  /** What holds the attachment. Default `fd`. */
  owner?: LinkOwner;
}

/** The two parts of a SEC() that names its target. */
export interface SectionTarget {
  kind: string;
  target: string;
}

// By program type, the call that attaches it.
const CALLS: Readonly<Record<string, string>> = {
  xdp: 'attachXdp({ iface }) takes the interface',
  sched_cls: 'attachTc({ iface, direction }) takes the interface',
  tracepoint: 'attachTracepoint(category, name) takes the tracepoint',
  raw_tracepoint: 'attachRawTracepoint(name) takes the tracepoint',
  kprobe:
    'attachKprobe(fn), attachSyscall(name), attachUprobe({ binary }) or attachUsdt({ binary }) takes the function or probe',
  perf_event: 'attachPerfEvent({ event, frequency }) takes the event',
  sk_lookup: 'attachNetns(netns) takes the namespace',
  flow_dissector: 'attachNetns(netns) takes the namespace',
  sk_skb: 'attachSockmap(map) takes the map',
  sk_msg: 'attachSockmap(map) takes the map',
  netfilter: 'attachNetfilter({ pf, hooknum, priority }) takes the hook',
  struct_ops: 'call attach() of its map',
  socket_filter: 'attachSocket(fd) takes the socket',
  sock_ops: 'attachCgroup(path) takes the cgroup',
  cgroup_skb: 'attachCgroup(path) takes the cgroup',
  cgroup_sock: 'attachCgroup(path) takes the cgroup',
  cgroup_sock_addr: 'attachCgroup(path) takes the cgroup',
  cgroup_device: 'attachCgroup(path) takes the cgroup',
  cgroup_sysctl: 'attachCgroup(path) takes the cgroup',
  cgroup_sockopt: 'attachCgroup(path) takes the cgroup',
};

/**
 * The target that the program's SEC() names.
 *
 * @throws EbpfAttachError `ERR_EBPF_NO_TARGET`
 */
export function sectionTarget(program: { name: string; section: string; type: string }): SectionTarget {
  const found = attachPoint(program.section);
  if (found) return found;
  const why =
    program.section === ''
      ? 'it was opened by pin or id, which have no section'
      : `SEC("${program.section}") does not name a target`;
  throw new EbpfAttachError(`attach ${program.name}: ${why}`, {
    code: 'ERR_EBPF_NO_TARGET',
    target: program.section,
    hint: CALLS[program.type],
  });
}

/**
 * Checks the type of a program.
 *
 * @param wanted the words for `types`
 * @throws EbpfAttachError `ERR_EBPF_PROGRAM_TYPE`
 */
export function requireType(
  what: string,
  program: { type: string },
  types: readonly string[],
  target: string,
  wanted = types.join(' or '),
): void {
  if (types.includes(program.type)) return;
  throw new EbpfAttachError(`${what}: it is a ${program.type} program, not ${wanted}`, {
    code: 'ERR_EBPF_PROGRAM_TYPE',
    target,
    hint: CALLS[program.type],
  });
}

/** The error for a kind of attachment that needs libbpf's view of the object, which a pin does not have. */
export function noObject(program: { name: string }, { kind, target }: SectionTarget): EbpfAttachError {
  return new EbpfAttachError(`attach ${program.name} to ${target}: it was opened by pin or id`, {
    code: 'ERR_EBPF_NO_TARGET',
    target,
    hint: `attach a ${kind} program in the process that loads it, and pin its link`,
  });
}

// The oldest kernel that supports each kind.
const SINCE: Readonly<Record<string, string>> = {
  iter: '5.8',
  sk_lookup: '5.9',
  netfilter: '6.4',
  'kprobe.multi': '5.18',
  'kretprobe.multi': '5.18',
  'kprobe.session': '6.10',
  'uprobe.multi': '6.6',
  'uretprobe.multi': '6.6',
  lsm: '5.7',
};

/** The parts of attachFailure() that differ by kind. */
export interface AttachKind {
  /** The capabilities that attaching needs. Default: CAP_BPF and CAP_PERFMON. */
  needed?: readonly Capability[];
  /** Hints by error code. Without one, the hint is the last line that libbpf logged. */
  hints?: Readonly<Record<string, string>>;
}

/** The public error of a failed attempt to attach a program. */
export function attachFailure(
  what: string,
  program: string,
  at: SectionTarget,
  error: unknown,
  { needed = ['CAP_BPF', 'CAP_PERFMON'], hints = {} }: AttachKind = {},
): EbpfError {
  const { words, log, options } = describeFailure(error, `program ${program}`);
  const message = `${what}: ${words}`;
  switch (options.code) {
    case 'EPERM':
    case 'EACCES':
      return permissionError(message, options, needed);
    case 'ENOENT':
      if (/^raw_t/.test(at.kind)) return noTracepoint(what, at.target, rawTracepointsNear(at.target));
      break;
    case 'EOPNOTSUPP':
    case 'ENOTSUPP':
      return new EbpfNotSupportedError(`${what}: this kernel does not support it`, {
        ...options,
        feature: at.kind,
        minKernel: SINCE[at.kind],
      });
  }
  const hint = hints[options.code] ?? log.at(-1)?.replace(/^libbpf: /, '');
  return new EbpfAttachError(message, { ...options, target: at.target, hint });
}
