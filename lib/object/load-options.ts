import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import type { NativeLoadOptions } from '../addon/binding.ts';
import { EbpfLoadError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { pinPath } from '../handle/pin.ts';
import { findInterface, type Iface } from '../kernel/interfaces.ts';
import { BpfMap } from '../map/map.ts';
import { checkShape } from '../map/shape.ts';
import { encodeGlobals, type GlobalValue } from '../object-file/globals.ts';
import type { ObjectInfo } from '../object-file/inspect.ts';
import type { SourceBytes } from '../object-file/source.ts';

/** Options for one map of a load. */
export interface MapLoadOptions {
  /** Maximum number of entries, in place of the object's. */
  maxEntries?: number;
  /** A map, or the path of its pin, to use in place of a new one. It must have the same shape. */
  reuse?: BpfMap | string;
  /** Path at which to pin the map when the object is loaded, or a name under `pinRoot`. */
  pin?: string;
}

/** Options for one program of a load. */
export interface ProgramLoadOptions {
  /** False skips the program; true loads one whose SEC() begins with `?`. */
  load?: boolean;
  /** The network card to load the program for, to attach it in XDP mode `hw`. */
  device?: Iface;
  /**
   * The kernel function or tracepoint of an `fentry`, `fexit`, `tp_btf` or `lsm` program whose SEC() names
   * none.
   */
  attachTarget?: string;
}

/** Options of loadObject(). */
export interface LoadOptions {
  /**
   * Initial values of global variables by name: a number or bigint that fits, a boolean for `bool`, bytes for
   * an array or struct. The verifier treats `const volatile` variables as constants.
   */
  globals?: Record<string, GlobalValue>;
  /** Options of maps by name. */
  maps?: Record<string, MapLoadOptions>;
  /** Options of programs by name. */
  programs?: Record<string, ProgramLoadOptions>;
  /** Path of a file with the kernel's BTF, for a kernel without /sys/kernel/btf/vmlinux. */
  btf?: string;
  /** Lines of a kernel configuration that take precedence over the kernel's own: `CONFIG_HZ=250`. */
  kconfig?: string;
  /** The folder for maps that the object file pins by name (LIBBPF_PIN_BY_NAME). Default /sys/fs/bpf. */
  pinRoot?: string;
  /** Path of a BPF file system mounted with delegation, whose token replaces capabilities (kernel 6.9). */
  tokenPath?: string;
  /** Cancels the load. It is checked before and after the kernel's work, which it cannot interrupt. */
  signal?: AbortSignal;
  /** `always` also keeps the verifier's log of programs that load. Default `on-error`. */
  verifierLog?: 'on-error' | 'always';
}

/** The options of a load, checked against the object, for native code and for the steps after it. */
export interface LoadPlan {
  options: NativeLoadOptions;
  pins: { map: string; path: string }[];
  /** Closes the maps that were opened for the load. */
  release(): void;
}

const LOAD_MEMBERS = [
  'globals',
  'maps',
  'programs',
  'btf',
  'kconfig',
  'pinRoot',
  'tokenPath',
  'signal',
  'verifierLog',
];
const MAP_MEMBERS = ['maxEntries', 'reuse', 'pin'];
const PROGRAM_MEMBERS = ['load', 'device', 'attachTarget'];

/**
 * Checks `options` against the object. Opens the pins and looks up the interfaces that they name.
 *
 * @throws EbpfLoadError `ERR_EBPF_NO_MAP`, `ERR_EBPF_NO_PROGRAM`, `ERR_EBPF_NO_GLOBAL` with the nearest names
 * @throws EbpfMapError `ERR_EBPF_MAP_SPEC` if a map to reuse has another shape
 */
export function planLoad(read: SourceBytes, info: ObjectInfo, options: LoadOptions): LoadPlan {
  onlyMembers('the load options', options, LOAD_MEMBERS);
  const result: NativeLoadOptions = { verifierLog: options.verifierLog === 'always' };
  if (options.btf !== undefined) result.btf = readable(read, options.btf);
  if (options.kconfig !== undefined) result.kconfig = options.kconfig;
  if (options.pinRoot !== undefined) result.pinRoot = resolve(options.pinRoot);
  if (options.tokenPath !== undefined) result.token = options.tokenPath;
  if (options.globals) result.globals = encodeGlobals(read.name, info.globals, options.globals);
  result.programs = Object.entries(options.programs ?? {}).map(([name, program]) => {
    named(read, 'program', info.programs, name);
    onlyMembers(`programs.${name}`, program, PROGRAM_MEMBERS);
    const { load, device, attachTarget } = program;
    return {
      name,
      ...(load === undefined ? {} : { load }),
      ...(device === undefined ? {} : { ifindex: findInterface({ iface: device }).ifindex }),
      ...(attachTarget === undefined ? {} : { attachTarget }),
    };
  });
  const opened: BpfMap[] = [];
  const release = () => {
    for (const map of opened) map.close();
  };
  try {
    const pins: LoadPlan['pins'] = [];
    // The maps of sections have a dot in their names and are not included.
    const declared = info.maps.filter((map) => !map.name?.includes('.'));
    result.maps = Object.entries(options.maps ?? {}).map(([name, map]) => {
      const spec = named(read, 'map', declared, name);
      onlyMembers(`maps.${name}`, map, MAP_MEMBERS);
      const { maxEntries, reuse, pin } = map;
      if (pin !== undefined) pins.push({ map: name, path: pinPath(underRoot(pin, options.pinRoot)) });
      if (maxEntries !== undefined) checkEntries(name, maxEntries);
      if (reuse === undefined) return maxEntries === undefined ? { name } : { name, maxEntries };
      const found = typeof reuse === 'string' ? BpfMap.fromPin(underRoot(reuse, options.pinRoot)) : reuse;
      if (found !== reuse) opened.push(found);
      const { type, keySize, valueSize, flags = 0 } = spec;
      // For 0 entries libbpf uses the number of CPUs.
      const entries = maxEntries ?? spec.maxEntries;
      const shape = { type, keySize, valueSize, flags, ...(entries === 0 ? {} : { maxEntries: entries }) };
      checkShape(`load ${read.name}: reuse map ${found.name} as ${name}`, found, shape);
      return { name, reuse: found.native };
    });
    return { options: result, pins, release };
  } catch (error) {
    release();
    throw error;
  }
}

// libbpf opens the file only if there are relocations: a misspelt path would go unnoticed until then.
function readable(read: SourceBytes, path: string): string {
  try {
    accessSync(path, constants.R_OK);
    return path;
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    throw new EbpfLoadError(`load ${read.name}: BTF ${path}: ${message}`, { code, cause: error });
  }
}

function named<T extends { name?: string }>(
  read: SourceBytes,
  noun: 'map' | 'program',
  all: readonly T[],
  name: string,
): T {
  const found = all.find((entry) => entry.name === name);
  if (found) return found;
  const names = nearest(
    name,
    all.map((entry) => entry.name ?? ''),
  );
  throw new EbpfLoadError(`load ${read.name}: it has no ${noun} "${name}"`, {
    code: noun === 'map' ? 'ERR_EBPF_NO_MAP' : 'ERR_EBPF_NO_PROGRAM',
    hint: names.length > 0 ? `it has ${names.join(', ')}` : `it has no ${noun} at all`,
  });
}

// A misspelt option must not be ignored: the map would have the wrong size.
function onlyMembers(place: string, value: object, members: readonly string[]): void {
  const unknown = Object.keys(value).find((member) => !members.includes(member));
  if (unknown === undefined) return;
  throw new TypeError(`Expected ${members.join(', ')} in ${place} but received ${unknown}`);
}

function checkEntries(name: string, maxEntries: number): void {
  if (Number.isInteger(maxEntries) && maxEntries >= 1 && maxEntries <= 0xffffffff) return;
  throw new RangeError(
    `Expected an integer from 1 to 4294967295 for maps.${name}.maxEntries but received ${maxEntries}`,
  );
}

function underRoot(pin: string, root: string | undefined): string {
  return pin.includes('/') || root === undefined ? pin : `${root}/${pin}`;
}
