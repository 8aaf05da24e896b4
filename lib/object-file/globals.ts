import type { Bytes } from '../core/bytes.ts';
import { LITTLE_ENDIAN } from '../core/endian.ts';
import { EbpfLoadError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import type { GlobalSpec } from './inspect.ts';

// The global variables of an object: `const volatile` ones, which the verifier treats as constants, and those
// of .data and .bss.

/**
 * The value of a global variable. When read, an 8-byte integer is a bigint, a smaller integer or a float is a
 * number, and an array or struct is a copy of its bytes.
 */
export type GlobalValue = number | bigint | boolean | Bytes;

/** Encodes each value, after checking it against the type that BTF gives its variable. */
export function encodeGlobals(
  place: string,
  globals: readonly GlobalSpec[],
  values: Readonly<Record<string, GlobalValue>>,
): { section: string; offset: number; bytes: Uint8Array }[] {
  return Object.entries(values).map(([name, value]) => {
    const spec = globals.find((entry) => entry.name === name);
    if (!spec) throw unknownGlobal(place, globals, name);
    return { section: spec.section, offset: spec.offset, bytes: encode(spec, value) };
  });
}

function unknownGlobal(place: string, globals: readonly GlobalSpec[], name: string): EbpfLoadError {
  const names = nearest(
    name,
    globals.map((entry) => entry.name),
  );
  return new EbpfLoadError(`load ${place}: it has no global variable "${name}"`, {
    code: 'ERR_EBPF_NO_GLOBAL',
    hint:
      names.length > 0
        ? `it has ${names.join(', ')}`
        : 'BTF names no variable: compile with -g, and do not make the variables static',
  });
}

function encode(spec: GlobalSpec, value: GlobalValue): Uint8Array {
  const { name, size, kind } = spec;
  const refuse = (expected: string) =>
    new TypeError(`Expected ${expected} for the global ${name} but received ${show(value)}`);
  if (value instanceof Uint8Array) {
    if (value.byteLength !== size) {
      throw new RangeError(`Expected ${size} bytes for the global ${name} but received ${value.byteLength}`);
    }
    return Uint8Array.from(value);
  }
  if (kind === 'bytes') throw refuse(`a Uint8Array of ${size} bytes`);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  switch (kind) {
    case 'boolean':
      if (typeof value !== 'boolean') throw refuse('a boolean');
      bytes[LITTLE_ENDIAN ? 0 : size - 1] = value ? 1 : 0;
      return bytes;
    case 'float':
      if (typeof value !== 'number') throw refuse('a number');
      if (size === 4) view.setFloat32(0, value, LITTLE_ENDIAN);
      else view.setFloat64(0, value, LITTLE_ENDIAN);
      return bytes;
  }
  const integer = typeof value === 'bigint' || Number.isSafeInteger(value);
  if (typeof value === 'boolean' || !integer) throw refuse('a safe integer or a bigint');
  const bits = BigInt(size * 8);
  const [least, most] =
    kind === 'signed' ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  const number = BigInt(value);
  if (number < least || number > most) {
    throw new RangeError(
      `Expected ${least} to ${most} for the global ${name} (${kind}, ${size} bytes) but received ${show(value)}`,
    );
  }
  for (let i = 0; i < size; i++) {
    bytes[LITTLE_ENDIAN ? i : size - 1 - i] = Number(BigInt.asUintN(8, number >> BigInt(8 * i)));
  }
  return bytes;
}

function show(value: unknown): string {
  return typeof value === 'bigint' ? `${value}n` : value instanceof Object ? typeof value : String(value);
}

/** The map of a section, as readableGlobals() reads it. */
export interface ReadableSection {
  readonly name: string;
  readonly valueSize: number;
  get(key: number): Bytes | undefined;
}

/** Returns an object with a getter for each variable, which reads it from the kernel. */
export function readableGlobals(
  globals: readonly GlobalSpec[],
  maps: readonly ReadableSection[],
): Readonly<Record<string, GlobalValue>> {
  const result: Record<string, GlobalValue> = {};
  for (const spec of globals) {
    // libbpf names the map of .rodata `<object>.rodata`, and the map of .rodata.more after its section.
    const map = maps.find(({ name }) => name.includes('.') && name.slice(name.indexOf('.')) === spec.section);
    if (!map) continue;
    const get = () => {
      const value = map.get(0) ?? new Uint8Array(map.valueSize);
      return decode(spec, value.slice(spec.offset, spec.offset + spec.size));
    };
    Object.defineProperty(result, spec.name, { get, enumerable: true, configurable: true });
  }
  return Object.freeze(result);
}

function decode({ size, kind }: GlobalSpec, bytes: Uint8Array): GlobalValue {
  const view = new DataView(bytes.buffer);
  if (kind === 'bytes') return bytes;
  if (kind === 'boolean') return bytes.some((byte) => byte !== 0);
  if (kind === 'float')
    return size === 4 ? view.getFloat32(0, LITTLE_ENDIAN) : view.getFloat64(0, LITTLE_ENDIAN);
  const signed = kind === 'signed';
  switch (size) {
    case 1:
      return signed ? view.getInt8(0) : view.getUint8(0);
    case 2:
      return signed ? view.getInt16(0, LITTLE_ENDIAN) : view.getUint16(0, LITTLE_ENDIAN);
    case 4:
      return signed ? view.getInt32(0, LITTLE_ENDIAN) : view.getUint32(0, LITTLE_ENDIAN);
    default:
      return signed ? view.getBigInt64(0, LITTLE_ENDIAN) : view.getBigUint64(0, LITTLE_ENDIAN);
  }
}
