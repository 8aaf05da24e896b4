import { EbpfLoadError } from '../core/errors.ts';
import type { ObjectInfo, ProgramSpec } from './inspect.ts';

/** The type of program to choose from an object file. */
export const ProgramType = {
  /** `SEC("xdp")` */
  XDP: 'xdp',
  /** `SEC("tc")` and `SEC("tcx/…")`; the kernel calls the type `sched_cls`. */
  TC: 'tc',
  /** `SEC("cgroup_skb/…")` */
  CGROUP_SKB: 'cgroup_skb',
  /** `SEC("socket")` */
  SOCKET_FILTER: 'socket_filter',
  /** `SEC("kprobe/…")`, and uprobes and USDT probes, which have the same type. */
  KPROBE: 'kprobe',
  /** `SEC("tp/…")`, but not `SEC("tp_btf/…")`. */
  TRACEPOINT: 'tracepoint',
  /** `SEC("raw_tp/…")` */
  RAW_TRACEPOINT: 'raw_tracepoint',
} as const;
export type ProgramType = (typeof ProgramType)[keyof typeof ProgramType];

// The types whose name in ProgramType differs from the kernel's.
const KERNEL_TYPES: Partial<Record<ProgramType, string>> = { tc: 'sched_cls' };

/** Finds the only program with this type and name. @internal */
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
    throw new EbpfLoadError(`load ${place}: it has no ${wanted || 'program'}`, {
      code: 'ERR_EBPF_PROGRAM_TYPE',
      hint: `its programs: ${listed}`,
    });
  }
  throw new EbpfLoadError(`load ${place}: ${fitting.length} programs match: ${listed}`, {
    code: 'ERR_EBPF_AMBIGUOUS',
    hint: 'choose one with the option `program`',
  });
}
