import type { NativeLink } from '../addon/binding.ts';
import { describeFailure, EbpfAttachError, type EbpfError, EbpfNotSupportedError } from '../core/errors.ts';
import { type Capability, permissionError } from '../kernel/capabilities.ts';
import { noTracepoint, rawTracepointsNear } from '../kernel/tracefs.ts';
import type { LinkOwner } from '../link/link.ts';
import { attachPoint } from '../object-file/section.ts';

// Attaching by SEC(): what is tried, and what it means that the kernel refuses.

/** An attachment that was made, and that nobody owns yet. */
export interface Attached {
  native: NativeLink;
  /** What it is attached to, in words. */
  target: string;
  /** Default `fd`. */
  owner?: LinkOwner;
}

/** The SEC() of a program that names where it goes. */
export interface SectionTarget {
  kind: string;
  target: string;
}

const WHERE: Readonly<Record<string, string>> = {
  xdp: 'attachXdp({ iface }) takes the interface',
  sched_cls: 'attachTc({ iface, direction }) takes the interface',
  tracepoint: 'attachTracepoint(category, name) takes it',
  raw_tracepoint: 'attachRawTracepoint(name) takes it',
  kprobe:
    'attachKprobe(fn), attachSyscall(name), attachUprobe({ binary }) or attachUsdt({ binary }) takes it',
  perf_event: 'attachPerfEvent({ event, frequency }) takes the event',
  sk_lookup: 'attachNetns(netns) takes the namespace',
  flow_dissector: 'attachNetns(netns) takes the namespace',
  sk_skb: 'attachSockmap(map) takes the map',
  sk_msg: 'attachSockmap(map) takes the map',
  netfilter: 'attachNetfilter({ pf, hooknum, priority }) takes the hook',
  struct_ops: 'attach() of its map attaches it',
  socket_filter: 'attachSocket(fd) takes the socket',
  sock_ops: 'attachCgroup(path) takes the cgroup',
  cgroup_skb: 'attachCgroup(path) takes the cgroup',
  cgroup_sock: 'attachCgroup(path) takes the cgroup',
  cgroup_sock_addr: 'attachCgroup(path) takes the cgroup',
  cgroup_device: 'attachCgroup(path) takes the cgroup',
  cgroup_sysctl: 'attachCgroup(path) takes the cgroup',
  cgroup_sockopt: 'attachCgroup(path) takes the cgroup',
};

/** @throws EbpfAttachError `ERR_EBPF_NO_TARGET` */
export function sectionTarget(program: { name: string; section: string; type: string }): SectionTarget {
  const found = attachPoint(program.section);
  if (found) return found;
  const why =
    program.section === ''
      ? 'it came from a pin or an id, which keep no section'
      : `SEC("${program.section}") does not say where`;
  throw new EbpfAttachError(`attach ${program.name}: ${why}`, {
    code: 'ERR_EBPF_NO_TARGET',
    target: program.section,
    hint: WHERE[program.type],
  });
}

/**
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
    hint: WHERE[program.type],
  });
}

/** What takes libbpf's view of the object, which a pin does not keep. */
export function noObject(program: { name: string }, { kind, target }: SectionTarget): EbpfAttachError {
  return new EbpfAttachError(`attach ${program.name} to ${target}: it came from a pin`, {
    code: 'ERR_EBPF_NO_TARGET',
    target,
    hint: `attach a ${kind} program in the process that loads it, and pin its link`,
  });
}

// The oldest kernel that has what a section asks for.
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

/** What attachFailure() knows about one kind of attachment. */
export interface AttachKind {
  /** The capabilities that the kernel asks for. Default: CAP_BPF and CAP_PERFMON. */
  needed?: readonly Capability[];
  /** By error code. Without an entry, the last line that libbpf logged. */
  hints?: Readonly<Record<string, string>>;
}

/** The public error of a program's attach that failed. */
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
      return new EbpfNotSupportedError(`${what}: this kernel cannot do it`, {
        ...options,
        feature: at.kind,
        minKernel: SINCE[at.kind],
      });
  }
  const hint = hints[options.code] ?? log.at(-1)?.replace(/^libbpf: /, '');
  return new EbpfAttachError(message, { ...options, target: at.target, hint });
}
