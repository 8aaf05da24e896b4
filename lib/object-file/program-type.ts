import { EbpfLoadError } from '../core/errors.ts';
import type { ObjectInfo, ProgramSpec } from './inspect.ts';

/** What kind of program a file is expected to hold. */
export const ProgramType = {
  /** `SEC("xdp")` */
  XDP: 'xdp',
  /** `SEC("tc")`, `SEC("tcx/…")`: the kernel's word is `sched_cls`. */
  TC: 'tc',
  /** `SEC("cgroup_skb/…")` */
  CGROUP_SKB: 'cgroup_skb',
  /** `SEC("socket")` */
  SOCKET_FILTER: 'socket_filter',
  /** `SEC("kprobe/…")`, and uprobes and USDT probes, which are of the same type. */
  KPROBE: 'kprobe',
  /** `SEC("tp/…")`; not `SEC("tp_btf/…")`. */
  TRACEPOINT: 'tracepoint',
  /** `SEC("raw_tp/…")` */
  RAW_TRACEPOINT: 'raw_tracepoint',
} as const;
export type ProgramType = (typeof ProgramType)[keyof typeof ProgramType];

// The kernel's words for the types that ProgramType names otherwise.
const KERNEL_TYPES: Partial<Record<ProgramType, string>> = { tc: 'sched_cls' };

/** The one program of a file that is meant. @internal */
export function chooseProgram(
  place: string,
  info: ObjectInfo,
  type: ProgramType | undefined,
  name: string | undefined,
): ProgramSpec {
  const listed = info.programs.map((program) => `${program.name} (${program.type})`).join(', ') || 'none';
  const ofType = info.programs.filter((program) => !type || program.type === (KERNEL_TYPES[type] ?? type));
  const fitting = ofType.filter((program) => name === undefined || program.name === name);
  const [only, ...more] = fitting;
  if (only && more.length === 0) return only;
  const wanted = [type, name && `"${name}"`].filter(Boolean).join(' ');
  if (!only) {
    throw new EbpfLoadError(`load ${place}: it holds no ${wanted || 'program'}`, {
      code: 'ERR_EBPF_PROGRAM_TYPE',
      hint: `its programs: ${listed}`,
    });
  }
  throw new EbpfLoadError(`load ${place}: ${fitting.length} programs fit: ${listed}`, {
    code: 'ERR_EBPF_AMBIGUOUS',
    hint: 'name one with the option `program`',
  });
}
