import { expect, test } from 'vitest';
import type { BpfMap } from '../../lib/map/map.ts';
import { encodeGlobals, readableGlobals } from '../../lib/object-file/globals.ts';
import type { GlobalSpec } from '../../lib/object-file/inspect.ts';
import { caught } from '../helpers/caught.ts';

const spec = (kind: GlobalSpec['kind'], size: number, offset = 0): GlobalSpec => ({
  name: 'value',
  section: '.data',
  offset,
  size,
  kind,
});
const encode = (kind: GlobalSpec['kind'], size: number, value: number | bigint | boolean) =>
  encodeGlobals('object', [spec(kind, size)], { value })[0]?.bytes;
const decode = (kind: GlobalSpec['kind'], bytes: Uint8Array) => {
  const map = { name: 'object.data', get: () => Uint8Array.of(9, ...bytes, 9), valueSize: bytes.length + 2 };
  return readableGlobals([spec(kind, bytes.length, 1)], [map as unknown as BpfMap]).value;
};

test.each<[GlobalSpec['kind'], number, (number | bigint | boolean)[]]>([
  ['unsigned', 1, [0, 255]],
  ['unsigned', 2, [0, 65535]],
  ['unsigned', 4, [0, 4294967295]],
  ['unsigned', 8, [0n, 18446744073709551615n]],
  ['signed', 1, [-128, -1, 127]],
  ['signed', 2, [-32768, -1, 32767]],
  ['signed', 4, [-2147483648, -1, 2147483647]],
  ['signed', 8, [-9223372036854775808n, -1n, 9223372036854775807n]],
  ['boolean', 1, [false, true]],
  ['float', 4, [0.5, -2, Number.POSITIVE_INFINITY]],
  ['float', 8, [0.1, Number.MIN_VALUE]],
])('%s of %i bytes: what goes in comes out', (kind, size, values) => {
  for (const value of values) {
    const bytes = encode(kind, size, value);
    expect(bytes).toHaveLength(size);
    expect(decode(kind, bytes ?? new Uint8Array())).toBe(value);
  }
});

test('integers are in the machine’s byte order, as compilers for it lay them out', () => {
  const native = new Uint8Array(Int32Array.of(-2).buffer);
  expect(encode('signed', 4, -2)).toEqual(native);
  expect(encode('signed', 4, -2n)).toEqual(native);
});

test('a bigint is no float', () => {
  expect(() => encode('float', 8, 1n)).toThrow(TypeError);
});

test('what is none of the object’s is refused with what it has', () => {
  const refusal = (globals: GlobalSpec[], values: Record<string, unknown>) =>
    caught(() => encodeGlobals('object', globals, values as never));
  expect(refusal([spec('signed', 4)], { valeu: 1 })).toMatchObject({
    code: 'ERR_EBPF_NO_GLOBAL',
    hint: 'it has value',
  });
  expect(refusal([], { value: 1 })).toMatchObject({ hint: expect.stringContaining('compile with -g') });
  expect(refusal([spec('signed', 4)], { value: {} })).toMatchObject({
    message: expect.stringMatching(/ but received object$/),
  });
  expect(refusal([spec('unsigned', 1)], { value: 256n })).toMatchObject({
    message: 'Expected 0 to 255 for the global value (unsigned, 1 bytes) but received 256n',
  });
});

test('a variable whose map the object does not have is left out, and one without a value is zero', () => {
  const elsewhere = { name: 'object.bss', get: () => undefined, valueSize: 4 } as unknown as BpfMap;
  expect(readableGlobals([spec('signed', 4)], [elsewhere])).toEqual({});
  const empty = { name: 'object.data', get: () => undefined, valueSize: 4 } as unknown as BpfMap;
  expect(readableGlobals([spec('signed', 4)], [empty]).value).toBe(0);
});
