import type { NativeMap, NativeObject, NativeProgram } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import {
  describeFailure,
  EbpfError,
  EbpfLoadError,
  EbpfStateError,
  isNativeFailure,
} from '../core/errors.ts';
import { closedInTime, warnIfForgotten } from '../core/lifetime.ts';
import { nearest } from '../core/nearest.ts';
import {
  capabilitiesToCreate,
  capabilitiesToLoad,
  missingCapabilities,
  permissionError,
  unprivilegedType,
} from '../kernel/capabilities.ts';
import type { BpfLink } from '../link/link.ts';
import { BpfMap } from '../map/map.ts';
import { checkedInfo } from '../object-file/checked.ts';
import { type GlobalValue, readableGlobals } from '../object-file/globals.ts';
import type { ObjectInfo } from '../object-file/inspect.ts';
import { attachPoint } from '../object-file/section.ts';
import { readSource, readSourceSync, type Source, type SourceBytes } from '../object-file/source.ts';
import { verifierLogs, verifierPlace, verifierSummary } from '../object-file/verifier-log.ts';
import { BpfProgram } from '../program/program.ts';
import { type LoadOptions, type LoadPlan, planLoad } from './load-options.ts';

/** The maps and programs of an object. Generated modules narrow it. */
export interface Schema {
  /** The maps by name. */
  maps: Record<string, BpfMap>;
  /** The programs by name. */
  programs: Record<string, BpfProgram>;
}

/**
 * Loads an object file: creates its maps and loads its programs, which the verifier checks on the thread
 * pool. Attaches nothing. Inspecting the file before that blocks the JavaScript thread: 0.3 to 0.5 ms for the
 * 54 kB of tc_classifier, longer for larger files.
 *
 * @throws EbpfValidationError if the file is not a loadable object, before any system call of bpf(2)
 * @throws EbpfLoadError if the kernel refuses, with the verifier's log
 * @throws EbpfPermissionError naming the capabilities that the process lacks
 * @example
 * using object = await loadObject(new URL('xdp_counter.bpf.o', import.meta.url));
 * using link = object.program('xdp_counter').attachXdp({ iface: 'lo', mode: 'skb' });
 */
export async function loadObject<S extends Schema = Schema>(
  source: Source,
  options: LoadOptions = {},
): Promise<BpfObject<S>> {
  options.signal?.throwIfAborted();
  const read = await readSource(source);
  return loadBytes(read, checkedInfo(read), options);
}

/** Does the same as loadObject(), but blocks while the verifier works. For scripts. */
export function loadObjectSync<S extends Schema = Schema>(
  source: Source,
  options: LoadOptions = {},
): BpfObject<S> {
  options.signal?.throwIfAborted();
  const read = readSourceSync(source);
  const info = checkedInfo(read);
  const plan = planLoad(read, info, options);
  try {
    return finish(read, info, plan, native().loadObjectSync(read.bytes, read.name, plan.options));
  } catch (error) {
    throw loadFailure(read, info, error);
  } finally {
    plan.release();
  }
}

/** @internal */
export async function loadBytes<S extends Schema = Schema>(
  read: SourceBytes,
  info: ObjectInfo,
  options: LoadOptions,
): Promise<BpfObject<S>> {
  options.signal?.throwIfAborted();
  const plan = planLoad(read, info, options);
  try {
    const loaded = await native().loadObject(read.bytes, read.name, plan.options);
    if (options.signal?.aborted) {
      loaded.close();
      options.signal.throwIfAborted();
    }
    return finish<S>(read, info, plan, loaded);
  } catch (error) {
    throw loadFailure(read, info, error);
  } finally {
    plan.release();
  }
}

function finish<S extends Schema>(
  read: SourceBytes,
  info: ObjectInfo,
  plan: LoadPlan,
  loaded: NativeObject,
): BpfObject<S> {
  const object = BpfObject.wrap<S>(read.name, loaded, info);
  const pinned: BpfMap[] = [];
  try {
    for (const { map, path } of plan.pins) {
      object.map(map).pin(path);
      pinned.push(object.map(map));
    }
    return object;
  } catch (error) {
    try {
      for (const map of pinned) map.unpin();
    } finally {
      object.close();
    }
    throw error;
  }
}

/** A loaded object. Its programs and maps are open as long as it is. */
export class BpfObject<S extends Schema = Schema> implements Disposable {
  /**
   * The file's name up to the first dot; `object` if it was loaded from bytes; the folder's name if recover()
   * found it.
   */
  readonly name: string;
  /** The programs that were loaded, by name. */
  readonly programs: Readonly<S['programs']>;
  /** The maps by name, including those of the `.data`, `.rodata` and `.bss` sections. */
  readonly maps: Readonly<S['maps']>;
  /** The global variables. Getting one reads it from the kernel; 8-byte integers are bigints. */
  readonly globals: Readonly<Record<string, GlobalValue>>;
  readonly #native: NativeObject;
  readonly #links = new Set<BpfLink>();
  #closed = false;

  private constructor(
    name: string,
    nativeObject: NativeObject,
    programs: NativeProgram[],
    maps: NativeMap[],
    info: Pick<ObjectInfo, 'globals'>,
  ) {
    this.name = name;
    this.#native = nativeObject;
    const owner = { object: this, links: this.#links };
    const logs = verifierLogs(nativeObject.log());
    this.programs = Object.fromEntries(
      programs
        .map((entry) => BpfProgram.wrap(entry, owner, logs.get(entry.describe().name)))
        .map((program) => [program.name, program]),
    ) as S['programs'];
    const wrapped = maps.map((entry) => BpfMap.wrap(entry, owner));
    this.maps = Object.fromEntries(wrapped.map((map) => [map.name, map])) as S['maps'];
    this.globals = readableGlobals(info.globals, wrapped);
    warnIfForgotten(this, `the BPF object ${name}`);
  }

  /** @internal */
  static wrap<S extends Schema>(
    name: string,
    nativeObject: NativeObject,
    info: Pick<ObjectInfo, 'globals'>,
  ): BpfObject<S> {
    const handles: { close(): void }[] = [nativeObject];
    try {
      const programs = nativeObject.programs();
      handles.push(...programs);
      const maps = nativeObject.maps();
      handles.push(...maps);
      return new BpfObject<S>(name, nativeObject, programs, maps, info);
    } catch (error) {
      for (const handle of handles.reverse()) handle.close();
      throw error;
    }
  }

  /**
   * Returns the program with this name.
   *
   * @throws EbpfError `ERR_EBPF_NO_PROGRAM`, with the nearest names
   */
  program(name: string): BpfProgram {
    return this.#named('program', this.programs, name);
  }

  /**
   * Returns the map with this name.
   *
   * @throws EbpfError `ERR_EBPF_NO_MAP`, with the nearest names
   */
  map(name: string): BpfMap {
    return this.#named('map', this.maps, name);
  }

  /**
   * Attaches each program whose SEC() names its target, and each struct_ops map. If one fails, those before
   * it are detached again. Programs that need an interface or a cgroup (xdp, tc, cgroup_skb) are skipped, as
   * in libbpf.
   *
   * @throws the errors of BpfProgram.attach()
   * @example
   * const links = object.attachAll();
   */
  attachAll(): BpfLink[] {
    if (this.#closed) throw new EbpfStateError(`object ${this.name} is closed`, { state: 'closed' });
    const programs = Object.values(this.programs).filter(({ section }) => attachPoint(section));
    const structs = Object.values(this.maps).filter(({ type }) => type === 'struct_ops');
    return attachAll([...programs, ...structs]);
  }

  #named<T>(noun: 'program' | 'map', all: Readonly<Record<string, T>>, name: string): T {
    if (this.#closed) throw new EbpfStateError(`object ${this.name} is closed`, { state: 'closed' });
    const found = Object.hasOwn(all, name) ? all[name] : undefined;
    if (found !== undefined) return found;
    const names = nearest(name, Object.keys(all));
    throw new EbpfError(`object ${this.name} has no ${noun} "${name}"`, {
      code: noun === 'map' ? 'ERR_EBPF_NO_MAP' : 'ERR_EBPF_NO_PROGRAM',
      hint: names.length > 0 ? `it has ${names.join(', ')}` : `it has no ${noun} at all`,
    });
  }

  /**
   * Closes the object's links, programs and maps. Links that are not pinned are detached. Closing twice is
   * allowed.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    for (const link of [...this.#links]) link.close();
    for (const program of Object.values(this.programs)) program.close();
    for (const map of Object.values(this.maps)) map.close();
    this.#native.close();
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }
}

function loadFailure(read: SourceBytes, info: ObjectInfo, error: unknown): unknown {
  if (!isNativeFailure(error)) return error;
  const { words, log, options } = describeFailure(error, `object ${read.name}`);
  const [program, verifierLog] = [...verifierLogs(log)].at(-1) ?? [refusedProgram(log), undefined];
  const summary = verifierLog === undefined ? undefined : verifierSummary(verifierLog);
  if (options.code === 'EPERM' && summary === undefined) {
    const needed = [
      ...info.programs.flatMap((entry) => capabilitiesToLoad(entry.type)),
      ...info.maps.flatMap((entry) => capabilitiesToCreate(entry.type)),
    ];
    const unprivileged = info.programs.every((entry) => unprivilegedType(entry.type));
    return permissionError(`load ${read.name}: ${words}`, options, ['CAP_BPF', ...needed], { unprivileged });
  }
  // Without CAP_PERFMON the verifier forbids operations that could leak a kernel address
  // (kernel/bpf/verifier.c, allow_ptr_leaks).
  if (options.code === 'EACCES' && /prohibited|leaks addr/.test(summary ?? '')) {
    const missing = missingCapabilities(['CAP_PERFMON']);
    if (missing.length > 0)
      return permissionError(`load ${read.name}: ${words}: ${summary}`, options, missing);
  }
  if (log.some((line) => / is not on BPF FS$/.test(line))) {
    return new EbpfLoadError(
      `load ${read.name}: its maps are pinned by name, and the folder is in no BPF file system`,
      {
        ...options,
        code: 'ERR_EBPF_NO_BPFFS',
        hint: 'mount one: mount -t bpf bpf /sys/fs/bpf; pinRoot names the folder in it',
      },
    );
  }
  const { source, code } = verifierLog === undefined ? {} : verifierPlace(verifierLog);
  const line = [source, code].filter((part) => part !== undefined).join(': ') || undefined;
  const subject = program === undefined ? read.name : `${program} (${read.name})`;
  const detail = summary ?? libbpfComplaint(log);
  return new EbpfLoadError(
    `load ${subject}: ${words}${detail ? `: ${detail}` : ''}${line ? `, at ${line}` : ''}`,
    {
      ...options,
      program,
      summary,
      source: line,
      verifierLog,
      hint:
        summary === undefined
          ? undefined
          : "the verifier refuses the program; the error's verifierLog has it whole",
    },
  );
}

function refusedProgram(log: readonly string[]): string | undefined {
  return log.map((line) => /^libbpf: prog '(.*?)': BPF program load failed/.exec(line)?.[1]).find(Boolean);
}

// Returns libbpf's first complaint about a map or a relocation.
function libbpfComplaint(log: readonly string[]): string | undefined {
  return log
    .find(
      (line) =>
        /^libbpf: (map|prog|couldn't reuse|failed to) .*/.test(line) &&
        /fail|can't|cannot|couldn't/.test(line),
    )
    ?.replace(/^libbpf: /, '');
}

/** Attaches all of them, or none. */
function attachAll(all: readonly { attach(): BpfLink }[]): BpfLink[] {
  const links: BpfLink[] = [];
  try {
    for (const each of all) links.push(each.attach());
  } catch (error) {
    for (const link of links.reverse()) link.close();
    throw error;
  }
  return links;
}
