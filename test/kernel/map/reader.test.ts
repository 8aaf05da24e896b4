import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EbpfError, EbpfMapError, EbpfNotSupportedError, EbpfStateError } from '../../../lib/core/errors.ts';
import { MapFlags, type MapSpec } from '../../../lib/core/map-spec.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import type { MapReader, ReadPath } from '../../../lib/map/reader.ts';
import { type BpfObject, loadObjectSync } from '../../../lib/object/object.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { assertNothingLeft, fdCount, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { hex, type Random, randomBytes, strideOf } from '../../helpers/map-model.ts';
import { testObject } from '../../helpers/objects.ts';
import { seedOf, xorshift } from '../../helpers/random.ts';
import { without } from '../../helpers/under.ts';
import { until } from '../../helpers/until.ts';

const MAPS = ['array', 'mapped', 'percpu_array', 'hash', 'percpu_hash', 'lru_hash', 'lru_percpu'];
const PATHS: readonly ReadPath[] = ['mmap', 'snapshot', 'batch', 'lookup'];

/** struct fields in test/bpf/fields.bpf.c: offset, bytes, sign. */
const FIELDS: Record<string, readonly [number, number, boolean]> = {
  u64: [0, 8, false],
  s64: [8, 8, true],
  u32: [16, 4, false],
  s32: [20, 4, true],
  u16: [24, 2, false],
  s16: [26, 2, true],
  u8: [28, 1, false],
  s8: [29, 1, true],
  'slots[0]': [30, 2, false],
  'slots[2]': [34, 2, false],
  'inner.deep': [36, 4, true],
  'inner.deeper[3]': [43, 1, false],
  unnamed: [48, 8, false],
  either: [56, 4, false],
  or: [56, 1, true],
  colour: [60, 4, false],
  after: [72, 4, false],
  'tail[4]': [80, 1, false],
};
const NAMES = Object.keys(FIELDS);

let before: Snapshot;
let random: Random;
let object: BpfObject;
beforeAll(() => {
  before = snapshotIds(['reader', 'fields_of', ...MAPS.map((name) => `f_${name}`), 'source', 'sums']);
});
beforeEach(({ task }) => {
  random = xorshift(seedOf(task.name));
  object = loadObjectSync(testObject('fields'));
});
afterEach(() => object.close());
afterAll(() => assertNothingLeft(before));

type Field = readonly [offset: number, size: number, signed: boolean];

function integer(slot: Uint8Array, at: number, [offset, size, signed]: Field): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(slot[at + offset + i] ?? 0);
  return signed ? BigInt.asIntN(8 * size, value) : value;
}

/** What a row has to be: a number for each field, summed over CPUs, or those of one CPU after those of another. */
function rowOf(map: BpfMap, slot: Uint8Array, fields: readonly Field[], perCpu: boolean): bigint[] {
  const stride = strideOf(map);
  const cpus = map.slotSize / stride;
  const row: bigint[] = [];
  const wrap = (sum: bigint, [, , signed]: Field) =>
    signed ? BigInt.asIntN(64, sum) : BigInt.asUintN(64, sum);
  if (perCpu) {
    for (let cpu = 0; cpu < cpus; cpu++)
      for (const field of fields) row.push(integer(slot, cpu * stride, field));
    return row;
  }
  for (const field of fields) {
    let sum = 0n;
    for (let cpu = 0; cpu < cpus; cpu++) sum += integer(slot, cpu * stride, field);
    row.push(wrap(sum, field));
  }
  return row;
}

/** Random bytes, small numbers and the ends of their ranges. */
function randomValue(map: BpfMap): Uint8Array {
  const value = randomBytes(random, map.slotSize);
  switch (random(4)) {
    case 0:
      return value.fill(0);
    case 1:
      return value.fill(0xff);
    case 2:
      for (let i = 0; i < value.length; i++) if (i % 8 > 1) value[i] = 0;
      return value;
    default:
      return value;
  }
}

const LIMIT = 2n ** 53n;

function compare(
  reader: MapReader,
  map: BpfMap,
  rows: Map<string, Uint8Array>,
  fields: readonly Field[],
  perCpu: boolean,
): void {
  const count = reader.read();
  expect(count).toBe(rows.size);
  expect([reader.fields, reader.cpus]).toEqual([fields.length, perCpu ? map.slotSize / strideOf(map) : 1]);
  const width = reader.fields * reader.cpus;
  const seen = new Set<string>();
  const numbers: number[][] = [];
  const wide: bigint[][] = [];
  let saturated = false;
  for (let row = 0; row < count; row++) {
    const key = hex(reader.keys.subarray(row * map.keySize, (row + 1) * map.keySize));
    expect(seen.has(key)).toBe(false);
    seen.add(key);
    const slot = rows.get(key);
    if (!slot) throw new Error(`a row for ${key}, which is not there`);
    const expected = rowOf(map, slot, fields, perCpu);
    wide.push(expected);
    numbers.push(expected.map(Number));
    saturated ||= expected.some((value) => value > LIMIT || value < -LIMIT);
  }
  expect([...reader.values.subarray(0, count * width)]).toEqual(numbers.flat());
  expect(reader.saturated).toBe(saturated);
  const big = reader.readBigInt();
  expect([...big]).toEqual(wide.flat().map((value) => BigInt.asUintN(64, value)));
}

/** Whether the map has this path. */
function applies(map: BpfMap, via: ReadPath, perCpu: boolean): boolean {
  if (via === 'mmap') return map.type === 'array' && (map.flags & MapFlags.MMAPABLE) !== 0;
  if (via === 'snapshot') return !perCpu && map.type !== 'lpm_trie';
  return true;
}

function fill(map: BpfMap, count: number): Map<string, Uint8Array> {
  const rows = new Map<string, Uint8Array>();
  for (let i = 0; i < count; i++) {
    const key = new Uint8Array(map.keySize);
    const isArray = map.type.endsWith('array');
    for (let at = 0; at < map.keySize; at++) key[at] = at < 4 ? (i >>> (8 * at)) & 0xff : isArray ? 0 : 0x5a;
    if (map.type === 'lpm_trie') {
      key.fill(0);
      key[0] = 32;
      key[4] = i;
    }
    const value = randomValue(map);
    map.set(key, value);
    rows.set(hex(key), value);
  }
  return rows;
}

describe('every path, for fields that BTF names', () => {
  test.each(MAPS)('f_%s', (name) => {
    const map = object.map(`f_${name}`);
    for (let round = 0; round < 4; round++) {
      const isArray = map.type.endsWith('array');
      if (!isArray) for (const key of map.keys()) map.delete(key);
      const rows = fill(map, isArray ? 16 : random(map.type.startsWith('lru') ? 8 : 17));
      const names = Array.from({ length: 1 + random(12) }, () => NAMES[random(NAMES.length)] as string);
      const fields = names.map((field) => FIELDS[field] as Field);
      for (const perCpu of [false, true]) {
        for (const via of PATHS) {
          const options = { fields: names, perCpu, via };
          if (!applies(map, via, perCpu)) {
            expect(() => map.reader(options)).toThrow(EbpfNotSupportedError);
            continue;
          }
          using reader = map.reader(options);
          expect(reader.via).toBe(via);
          compare(reader, map, rows, fields, perCpu);
          expect(reader.grown).toBe(false);
        }
        using reader = map.reader({ fields: names, perCpu });
        expect(reader.via).toBe(name === 'mapped' ? 'mmap' : isArray && !perCpu ? 'snapshot' : 'batch');
        compare(reader, map, rows, fields, perCpu);
      }
    }
  });

  test('names that are not there: the nearest ones', () => {
    const error = caught(() => object.map('f_hash').reader({ fields: ['u46'] }));
    expect(error).toMatchObject({ name: 'EbpfMapError', code: 'ERR_EBPF_NO_FIELD' });
    expect(error).toMatchObject({ hint: expect.stringContaining('u64') });
    // A bit field is no integer that has an offset.
    expect(() => object.map('f_hash').reader({ fields: ['bits'] })).toThrow(EbpfMapError);
  });
});

const SHAPES: MapSpec[] = [
  ...[1, 2, 4, 8, 24, 20, 100, 4096].map((valueSize) => ({
    type: 'array',
    keySize: 4,
    valueSize,
    maxEntries: 7,
  })),
  ...[1, 4, 8, 24, 20, 1024].map((valueSize) => ({
    type: 'array',
    keySize: 4,
    valueSize,
    maxEntries: 5,
    flags: MapFlags.MMAPABLE,
  })),
  ...[1, 2, 4, 8, 12, 16, 1024, 4096].map((valueSize) => ({
    type: 'percpu_array',
    keySize: 4,
    valueSize,
    maxEntries: 5,
  })),
  ...[1, 3, 4, 7, 8, 9, 20, 64].map((keySize) => ({ type: 'hash', keySize, valueSize: 16, maxEntries: 20 })),
  ...[1, 4, 8, 40, 1024].map((valueSize) => ({ type: 'hash', keySize: 8, valueSize, maxEntries: 20 })),
  ...[1, 4, 8, 12, 512, 4096].map((valueSize) => ({
    type: 'percpu_hash',
    keySize: 6,
    valueSize,
    maxEntries: 9,
  })),
  { type: 'lru_hash', keySize: 4, valueSize: 16, maxEntries: 100 },
  { type: 'lru_percpu_hash', keySize: 4, valueSize: 16, maxEntries: 100 },
  { type: 'lpm_trie', keySize: 8, valueSize: 16, maxEntries: 20, flags: MapFlags.NO_PREALLOC },
];

/** What a reader takes without `fields`. */
function wholeValue(size: number): Field[] {
  if ([1, 2, 4].includes(size)) return [[0, size, false]];
  return Array.from({ length: size / 8 }, (_, i) => [8 * i, 8, false] as const);
}

describe('every path, for whole values and offsets', () => {
  test.each(SHAPES)('$type, keys of $keySize, values of $valueSize, flags $flags', (spec) => {
    using map = BpfMap.create({ name: 'reader', ...spec });
    const isArray = map.type.endsWith('array');
    const rows = fill(map, isArray ? map.maxEntries : 1 + random(9));
    const { valueSize } = map;
    const width = [1, 2, 4].includes(valueSize) ? valueSize : 8;
    const offsets =
      valueSize >= width
        ? Array.from({ length: 1 + random(6) }, () => random(valueSize - width + 1))
        : undefined;
    const isWhole = valueSize % 8 === 0 || [1, 2, 4].includes(valueSize);
    if (!isWhole) {
      expect(caught(() => map.reader())).toMatchObject({ code: 'ERR_EBPF_NO_FIELD' });
    }
    for (const perCpu of [false, true]) {
      for (const via of PATHS) {
        if (!applies(map, via, perCpu)) {
          expect(() => map.reader({ perCpu, via, fields: [0] })).toThrow(EbpfError);
          continue;
        }
        if (isWhole && (via !== 'snapshot' || valueSize <= 1024)) {
          using reader = map.reader({ perCpu, via });
          compare(reader, map, rows, wholeValue(valueSize), perCpu);
        } else if (isWhole) {
          // More fields than a snapshot has room for.
          expect(() => map.reader({ perCpu, via })).toThrow(EbpfNotSupportedError);
        }
        if (offsets) {
          using reader = map.reader({ perCpu, via, fields: offsets });
          compare(
            reader,
            map,
            rows,
            offsets.map((offset) => [offset, width, false] as const),
            perCpu,
          );
        }
      }
    }
  });

  test('an array above what one loop of a program reads: by batch, and nothing is zero', {
    timeout: 120_000,
  }, () => {
    const maxEntries = 2 ** 23 + 1;
    using map = BpfMap.create({ name: 'reader', type: 'array', keySize: 4, valueSize: 8, maxEntries });
    const value = new Uint8Array(8).fill(1, 0, 1);
    for (const key of [0, 5, maxEntries - 1]) map.set(key, value);
    expect(() => map.reader({ via: 'snapshot' })).toThrow(EbpfNotSupportedError);
    using reader = map.reader();
    expect([reader.via, reader.read()]).toEqual(['batch', maxEntries]);
    expect([0, 1, 5, maxEntries - 1].map((row) => reader.values[row])).toEqual([1, 0, 1, 1]);
  });

  test('no more than it takes: 128 fields in a snapshot, 129 not', () => {
    using map = BpfMap.create({ name: 'reader', type: 'array', keySize: 4, valueSize: 2048, maxEntries: 3 });
    const rows = fill(map, 3);
    const fields = (count: number) => Array.from({ length: count }, (_, i) => 8 * i);
    using reader = map.reader({ fields: fields(128) });
    expect(reader.via).toBe('snapshot');
    compare(
      reader,
      map,
      rows,
      fields(128).map((offset) => [offset, 8, false] as const),
      false,
    );
    using wide = map.reader({ fields: fields(129) });
    expect(wide.via).toBe('batch');
    compare(
      wide,
      map,
      rows,
      fields(129).map((offset) => [offset, 8, false] as const),
      false,
    );
  });
});

describe('a capacity that is too small', () => {
  test.each(['snapshot', 'batch', 'lookup'] as const)('grows: %s', async (via) => {
    using map = BpfMap.create({ name: 'reader', type: 'hash', keySize: 4, valueSize: 16, maxEntries: 1000 });
    const fields = wholeValue(16);
    const rows = fill(map, 700);
    for (const read of ['read', 'readAsync', 'readBigInt'] as const) {
      using reader = map.reader({ via, capacity: 3 });
      const { keys, values } = reader;
      expect(reader.capacity).toBe(3);
      const answer = await reader[read]();
      expect(typeof answer === 'number' ? answer : answer.length / 2).toBe(700);
      expect(reader.grown).toBe(true);
      expect(reader.capacity).toBeGreaterThanOrEqual(700);
      expect([reader.keys === keys, reader.values === values]).toEqual([false, false]);
      compare(reader, map, rows, fields, false);
      expect(reader.grown).toBe(false);
    }
  });

  test.each(['snapshot', 'batch', 'lookup'] as const)('is none when it fits to the last row: %s', (via) => {
    using map = BpfMap.create({ name: 'reader', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 300 });
    const rows = fill(map, 300);
    using reader = map.reader({ via });
    compare(reader, map, rows, wholeValue(8), false);
    expect([reader.grown, reader.capacity]).toEqual([false, 300]);
  });
});

describe('frozen, mapped, and without BTF', () => {
  test('freeze() ends writes, not reads', () => {
    using map = BpfMap.create({ name: 'reader', type: 'array', keySize: 4, valueSize: 8, maxEntries: 4 });
    const rows = fill(map, 4);
    map.freeze();
    expect(map.info().frozen).toBe(true);
    for (const write of [
      () => map.set(0, new Uint8Array(8)),
      () => map.setBatch(new Uint8Array(4), new Uint8Array(8), 1),
      () => map.slot(0).write(),
    ]) {
      expect(caught(write)).toMatchObject({ name: 'EbpfMapError', code: 'EPERM' });
    }
    using reader = map.reader();
    compare(reader, map, rows, wholeValue(8), false);
    expect(caught(() => map.freeze())).toMatchObject({ code: 'EPERM' });
  });

  test('memory() is the map itself', () => {
    const spec = { type: 'array', keySize: 4, valueSize: 12, maxEntries: 100, flags: MapFlags.MMAPABLE };
    const map = BpfMap.create({ name: 'reader', ...spec });
    const memory = map.memory();
    expect([memory.byteLength, map.memory() === memory]).toEqual([16 * 100, true]);
    const value = randomBytes(random, 12);
    map.set(99, value);
    expect(new Uint8Array(memory, 16 * 99, 12)).toEqual(value);
    new Uint8Array(memory)[16 * 7 + 11] = 0xee;
    expect(map.get(7)?.[11]).toBe(0xee);
    expect(caught(() => map.freeze())).toMatchObject({ code: 'EBUSY' });
    // It cannot be taken away.
    expect(structuredClone(memory).byteLength).toBe(1600);
    try {
      structuredClone(memory, { transfer: [memory] });
    } catch {
      // as good
    }
    expect(memory.byteLength).toBe(1600);
    const view = new Uint8Array(memory);
    map.close();
    expect([memory.byteLength, view.length, view[0]]).toEqual([0, 0, undefined]);
    expect(() => map.memory()).toThrow(EbpfStateError);
  });

  test('memory() of an arena, and of what has none', () => {
    using arena = BpfMap.create({
      name: 'reader',
      type: 'arena',
      keySize: 0,
      valueSize: 0,
      maxEntries: 2,
      flags: MapFlags.MMAPABLE,
    });
    const memory = new Uint8Array(arena.memory());
    expect(memory.length).toBe(8192);
    memory[8191] = 7;
    expect(new Uint8Array(arena.memory())[8191]).toBe(7);
    using map = BpfMap.create({ name: 'reader', type: 'array', keySize: 4, valueSize: 8, maxEntries: 1 });
    expect(() => map.memory()).toThrow(EbpfMapError);
    using frozen = BpfMap.create({
      name: 'reader',
      type: 'array',
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
      flags: MapFlags.MMAPABLE,
    });
    frozen.freeze();
    expect(caught(() => frozen.memory())).toMatchObject({ code: 'EPERM' });
    using reader = frozen.reader();
    expect([reader.via, reader.read()]).toEqual(['mmap', 1]);
  });

  test('a map from a pin or an id has readers, with the names of its BTF', async () => {
    using bpffs = new Bpffs();
    const path = bpffs.at('fields');
    const map = object.map('f_percpu_hash');
    const rows = fill(map, 5);
    map.pin(path);
    for (const again of [BpfMap.fromPin(path), BpfMap.fromId(map.id)]) {
      for (const via of ['snapshot', 'batch', 'lookup'] as const) {
        using reader = again.reader({ fields: ['s8', 'u64'], via });
        compare(reader, map, rows, [FIELDS.s8, FIELDS.u64] as Field[], false);
      }
      again.close();
    }
    const open = `const map = ebpf.BpfMap.fromPin(${JSON.stringify(path)});`;
    expect(await without(['sys_admin'], `${open} map.reader({ fields: [0] }).read()`)).toEqual({});
    expect(await without(['sys_admin'], `${open} map.reader({ fields: ['u64'] })`)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_SYS_ADMIN'],
    });
    map.unpin();
  });

  test('a program is no map', () => {
    using bpffs = new Bpffs();
    object.program('fields_of').pin(bpffs.at('program'));
    expect(caught(() => BpfMap.fromPin(bpffs.at('program')))).toMatchObject({ code: 'ERR_EBPF_PIN_KIND' });
    expect(caught(() => BpfMap.fromPin(bpffs.at('nothing')))).toMatchObject({ code: 'ENOENT' });
    expect(caught(() => BpfMap.fromId(0xffffffff))).toMatchObject({ code: 'ENOENT' });
    object.program('fields_of').pin(bpffs.at('again'));
  });
});

describe('readAsync()', () => {
  const spec = { name: 'reader', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 50_000 };

  test('while it is at work, nothing else may read', async () => {
    using map = BpfMap.create(spec);
    fill(map, 1000);
    using reader = map.reader();
    const reading = reader.readAsync();
    for (const read of [() => reader.read(), () => reader.readBigInt()]) {
      expect(caught(read)).toMatchObject({ name: 'EbpfStateError', state: 'reading' });
    }
    expect(await rejection(reader.readAsync())).toMatchObject({ name: 'EbpfStateError' });
    expect(await reading).toBe(1000);
    expect(reader.read()).toBe(1000);
    expect(await Promise.all([reader.readAsync(), rejection(reader.readAsync())])).toMatchObject([1000, {}]);
  });

  test('closed meanwhile: it ends, and holds nothing', async () => {
    const fds = () => fdCount(process.pid, /bpf/);
    const at = fds();
    for (let round = 0; round < 50; round++) {
      const map = BpfMap.create(spec);
      fill(map, 20);
      const reader = map.reader({ capacity: round % 2 === 0 ? 1 : 100 });
      const reading = reader.readAsync().then(
        (rows) => expect(rows).toBe(20),
        (error: unknown) => expect(error).toBeInstanceOf(EbpfStateError),
      );
      (round % 3 === 0 ? map : reader).close();
      await reading;
      map.close();
      expect(() => reader.read()).toThrow(EbpfStateError);
    }
    await until(() => fds() <= at);
  });
});
