import type { CompleteInspection, NativeInspection, NativeMapSpec } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { MapSpec, MapType } from '../core/map-spec.ts';
import { refusalFinding } from './code-findings.ts';
import { invalidObject, readSourceSync, type Source, type SourceBytes } from './source.ts';

/** A program in an object file. */
export interface ProgramSpec {
  /** The name of its C function. */
  name: string;
  /** Its SEC() without a leading `?`, such as `kprobe/do_unlinkat`. */
  section: string;
  /**
   * The kernel's name for its type: `xdp`, `sched_cls`, `kprobe`, …; `unspec` if the section name implies
   * none.
   */
  type: string;
  /** The part of the section name after the slash, such as a function or a tracepoint. */
  attachTarget?: string;
  /** Number of instructions that the kernel is given: the program's and those of every function it calls. */
  instructions: number;
}

/** The contents of an object file, as inspect() returns them. */
export interface ObjectInfo {
  /** Text of the `license` section; empty if there is none. */
  license: string;
  /** Whether the file has BTF. CO-RE and the names of members and global variables need it. */
  hasBtf: boolean;
  /** Number of CO-RE relocations: the instructions that libbpf adapts to the running kernel's types. */
  coreRelocations: number;
  /** Size of the file in bytes. */
  bytes: number;
  /** The programs in the order of the file, including those whose SEC() begins with `?`. */
  programs: ProgramSpec[];
  /** The maps, including those of the `.data`, `.rodata`, `.bss` and `.kconfig` sections. */
  maps: MapSpec[];
  /** The variables of the .data, .rodata and .bss sections, which a load can set. */
  globals: GlobalSpec[];
}

/** A global variable of an object. */
export interface GlobalSpec {
  /** Its name in C. */
  readonly name: string;
  /** `.rodata`, `.data` or `.bss`, with a suffix if the section has one: `.data.hot`. */
  readonly section: string;
  /** Offset in the section's map in bytes. */
  readonly offset: number;
  /** Size in bytes. */
  readonly size: number;
  /**
   * How its value is set and read: `signed` and `unsigned` as a number or bigint, `boolean`, `float` as a
   * number, and `bytes` for arrays and structs.
   */
  readonly kind: 'signed' | 'unsigned' | 'boolean' | 'float' | 'bytes';
}

/**
 * Reads an object file's programs, maps, licence, BTF and CO-RE relocations. Needs no privilege and does not
 * load anything.
 *
 * @throws EbpfValidationError naming the rule that the file breaks
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

/**
 * Inspects the file's bytes with libbpf. With `log`, its messages go to onLog(); a load, which repeats them,
 * leaves them out.
 *
 * @internal
 */
export function inspectFacts(source: SourceBytes, log: boolean): CompleteInspection {
  const facts = native().inspect(source.bytes, log);
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
