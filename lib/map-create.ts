import type { NativeMap, NativeMapCreation } from './binding.ts';
import { describeFailure, EbpfMapError, EbpfPermissionError } from './errors.ts';
import type { MapSpec } from './map.ts';
import { native } from './native.ts';
import { nearest } from './nearest.ts';
import { capabilitiesToCreate, missingCapabilities, permissionHint } from './privileges.ts';

/** Bits of a map's `flags`, as linux/bpf.h has them. */
export const MapFlags = {
  /** Memory for an entry when it is inserted, not when the map is made. An lpm_trie and local storage take no other. */
  NO_PREALLOC: 1 << 0,
  /** LRU hashes: a list for each CPU, not one for all; each evicts on its own. */
  NO_COMMON_LRU: 1 << 1,
  /** Memory on one NUMA node; create() names none, which is node 0. */
  NUMA_NODE: 1 << 2,
  /** User space only reads. */
  RDONLY: 1 << 3,
  /** User space only writes. */
  WRONLY: 1 << 4,
  /** Programs only read (kernel 5.2). */
  RDONLY_PROG: 1 << 7,
  /** Programs only write (kernel 5.2). */
  WRONLY_PROG: 1 << 8,
  /** Socket storage: a connection that is accepted inherits the listener's. */
  CLONE: 1 << 9,
  /** An array that memory() and a reader via `mmap` can map (kernel 5.5). */
  MMAPABLE: 1 << 10,
  /** An array whose number of entries may differ from that of the map of maps' `inner` (kernel 5.10). */
  INNER_MAP: 1 << 12,
} as const;

/** BpfMap.create(). @internal */
export function createMap(spec: MapSpec): NativeMap {
  const creation = checked(spec, 'the map');
  const inner = spec.inner === undefined ? undefined : checked(spec.inner, 'the inner map');
  try {
    return native().createMap(creation, inner);
  } catch (error) {
    const { words, log: _, ...options } = describeFailure(error, 'the map');
    const message = `create a ${spec.type} map${spec.name ? ` "${spec.name}"` : ''}: ${words}`;
    if (options.code === 'EPERM') {
      const missing = missingCapabilities(['CAP_BPF', ...capabilitiesToCreate(spec.type)]);
      throw new EbpfPermissionError(message, { ...options, missing, hint: permissionHint(missing) });
    }
    throw new EbpfMapError(message, { ...options, map: spec.name ?? '', hint: hint(spec, options.code) });
  }
}

const SIZES = ['keySize', 'valueSize', 'maxEntries', 'flags'] as const;
const MEMBERS = ['name', 'type', ...SIZES, 'inner'];

function checked(spec: MapSpec, what: string): NativeMapCreation {
  const unknown = Object.keys(spec).find((member) => !MEMBERS.includes(member));
  if (unknown !== undefined) {
    throw new TypeError(`Expected ${MEMBERS.join(', ')} in the spec of ${what} but received ${unknown}`);
  }
  const types = native().mapTypes();
  const typeNumber = types.indexOf(spec.type);
  if (typeNumber <= 0) {
    const near = nearest(String(spec.type), types.slice(1)).join(', '); // [0] is "unspec"
    throw new TypeError(
      `Expected a map type for ${what} but received ${String(spec.type)}: there are ${near}`,
    );
  }
  const { name = '' } = spec;
  if (typeof name !== 'string' || !/^[\w.]{0,15}$/.test(name)) {
    throw new TypeError(
      `Expected at most 15 letters, digits, _ and . for the name of ${what} but received ${String(name)}`,
    );
  }
  const [keySize, valueSize, maxEntries, flags] = SIZES.map((member) => {
    const value = spec[member] ?? (member === 'flags' ? 0 : undefined);
    if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0xffffffff) return Number(value);
    throw new RangeError(
      `Expected an integer from 0 to 4294967295 for ${member} of ${what} but received ${String(value)}`,
    );
  });
  return {
    ...{ typeNumber, name, extra: 0 },
    keySize: keySize ?? 0,
    valueSize: valueSize ?? 0,
    maxEntries: maxEntries ?? 0,
    flags: flags ?? 0,
  };
}

const NO_PREALLOC_TYPES = /^(lpm_trie|.*_storage)$/;

function hint({ type, flags = 0, inner }: MapSpec, code: string): string | undefined {
  if (/^(array|hash)_of_maps$/.test(type) && inner === undefined) {
    return 'a map of maps takes `inner`, the spec of what it holds';
  }
  if (code === 'EINVAL' && NO_PREALLOC_TYPES.test(type) && !(flags & MapFlags.NO_PREALLOC)) {
    return `a ${type} map takes flags: MapFlags.NO_PREALLOC`;
  }
  if (type === 'struct_ops') return 'a struct_ops map comes from an object: loadObject makes it';
  if (code === 'E2BIG') return 'that is more than the kernel gives one map';
  return undefined;
}
