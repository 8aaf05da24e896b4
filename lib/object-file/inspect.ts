import type { CompleteInspection, NativeInspection, NativeMapSpec } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { MapSpec, MapType } from '../core/map-spec.ts';
import { refusalFinding } from './code-findings.ts';
import { invalidObject, readSourceSync, type Source, type SourceBytes } from './source.ts';

/** A program in an object file. */
export interface ProgramSpec {
  /** The C function's. */
  name: string;
  /** Its SEC(), without the `?` that it may begin with: `kprobe/do_unlinkat`. */
  section: string;
  /** The kernel's word: `xdp`, `sched_cls`, `kprobe`, …; `unspec` where the section name says nothing. */
  type: string;
  /** What the section names after its slash: a function, a tracepoint. */
  attachTarget?: string;
  /** What the kernel is given: the program's own and those of every function that it calls. */
  instructions: number;
}

/** What an object file says of itself. */
export interface ObjectInfo {
  /** Of its `license` section; empty where it has none. */
  license: string;
  /** Without BTF there is no CO-RE, and no name of a member or a global variable. */
  hasBtf: boolean;
  /** How many places libbpf adapts to the running kernel's types. */
  coreRelocations: number;
  /** Of the whole file. */
  bytes: number;
  /** In the file's order, those whose SEC() begins with `?` included. */
  programs: ProgramSpec[];
  /** Those of its `.data`, `.rodata`, `.bss` and `.kconfig` sections included. */
  maps: MapSpec[];
  /** The variables of its .data, .rodata and .bss sections that a load can set. */
  globals: GlobalSpec[];
}

/** A global variable of an object. */
export interface GlobalSpec {
  /** Its name in C. */
  readonly name: string;
  /** `.rodata`, `.data`, `.bss`, or one of those with a name of its own: `.data.hot`. */
  readonly section: string;
  /** Where it begins in the section's map, in bytes. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
  /** What it is set to and read as: a number or a bigint, a boolean, a float, or bytes for arrays and structs. */
  readonly kind: 'signed' | 'unsigned' | 'boolean' | 'float' | 'bytes';
}

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
  const read = readSourceSync(source);
  return objectInfo(inspectFacts(read, true), read.bytes.byteLength);
}

/** @internal */
export function isComplete(facts: NativeInspection): facts is CompleteInspection {
  return facts.programs !== undefined;
}

/** `aloud`: onLog() hears what libbpf says, which a load says again. @internal */
export function inspectFacts(source: SourceBytes, aloud: boolean): CompleteInspection {
  const facts = native().inspect(source.bytes, aloud);
  if (facts.refusals.length > 0 || !isComplete(facts)) {
    throw invalidObject(facts.refusals.map((refusal) => refusalFinding(source.place, refusal)));
  }
  return facts;
}

/** @internal */
export function objectInfo(facts: CompleteInspection, bytes: number): ObjectInfo {
  return {
    license: facts.license,
    hasBtf: facts.hasBtf,
    coreRelocations: facts.coreRelocations,
    bytes,
    programs: facts.programs.map(({ name, section, type, instructions }) => {
      const program = { name, section, type, instructions };
      const slash = section.indexOf('/');
      return slash < 0 ? program : { ...program, attachTarget: section.slice(slash + 1) };
    }),
    maps: facts.maps.map(mapSpec),
    globals: facts.globals,
  };
}

function mapSpec({ name, type, keySize, valueSize, maxEntries, flags, inner }: NativeMapSpec): MapSpec {
  const spec: MapSpec = { name, type: type as MapType, keySize, valueSize, maxEntries, flags };
  if (inner !== undefined) spec.inner = mapSpec(inner);
  return spec;
}
