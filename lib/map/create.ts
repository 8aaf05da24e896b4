import type { NativeMap, NativeMapCreation } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfMapError } from '../core/errors.ts';
import { MapFlags, type MapSpec } from '../core/map-spec.ts';
import { nearest } from '../core/nearest.ts';
import { capabilitiesToCreate, permissionError } from '../kernel/capabilities.ts';

/** BpfMap.create(). @internal */
export function createMap(spec: MapSpec): NativeMap {
  const creation = checked(spec, 'the map');
  const inner = spec.inner === undefined ? undefined : checked(spec.inner, 'the inner map');
  try {
    return native().createMap(creation, inner);
  } catch (error) {
    const { words, options } = describeFailure(error, 'the map');
    const message = `create a ${spec.type} map${spec.name ? ` "${spec.name}"` : ''}: ${words}`;
    if (options.code === 'EPERM') {
      throw permissionError(message, options, ['CAP_BPF', ...capabilitiesToCreate(spec.type)]);
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
    typeNumber,
    name,
    extra: 0,
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
