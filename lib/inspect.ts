import type { MapSpec, MapType } from './map.ts';
import { type NativeGlobal, type NativeInspection, type NativeRefusal, native } from './native.ts';
import { invalidObject, readSourceSync, type Source, type SourceBytes } from './source.ts';
import { refusalFinding } from './validate.ts';

export interface ProgramSpec {
  name: string;
  section: string;
  /** The kernel's word: `xdp`, `sched_cls`, `kprobe`, …; `unspec` where the section name says nothing. */
  type: string;
  /** What the section names after its slash: a function, a tracepoint. */
  attachTarget?: string;
  instructions: number;
}

export interface ObjectInfo {
  license: string;
  hasBtf: boolean;
  /** How many places libbpf adapts to the running kernel's types. */
  coreRelocations: number;
  bytes: number;
  programs: ProgramSpec[];
  maps: MapSpec[];
  /** The variables of its .data, .rodata and .bss sections that a load can set. */
  globals: GlobalSpec[];
}

/** A global variable of an object. */
export type GlobalSpec = Readonly<NativeGlobal>;

/**
 * Reads an object file without a kernel: its programs, maps, licence, BTF and CO-RE relocations. No privilege is
 * needed.
 *
 * @throws EbpfValidationError with the rule that the file breaks
 * @example
 * const info = inspect('xdp_counter.bpf.o');
 * console.log(info.license, info.programs.map((program) => program.section));
 */
export function inspect(source: Source): ObjectInfo {
  return inspectBytes(readSourceSync(source));
}

/** @internal */
export function inspectBytes(source: SourceBytes): ObjectInfo {
  const result: NativeInspection | { refused: NativeRefusal } = native().inspect(source.bytes);
  if ('refused' in result) throw invalidObject([refusalFinding(source.place, result.refused)]);
  return {
    license: result.license,
    hasBtf: result.hasBtf,
    coreRelocations: result.coreRelocations,
    bytes: source.bytes.byteLength,
    programs: result.programs.map((program) => {
      const slash = program.section.indexOf('/');
      return slash < 0 ? program : { ...program, attachTarget: program.section.slice(slash + 1) };
    }),
    maps: result.maps.map((map) => ({ ...map, type: map.type as MapType })),
    globals: result.globals,
  };
}
