import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MapFlags } from '../../../lib/core/map-spec.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import type { MapReader, ReadPath } from '../../../lib/map/reader.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { SHORT } from '../../helpers/short.ts';

const MIB = 1024 * 1024;
/** Of each path; a sanitizer makes them slower, and counts leaks itself. */
const READS = SHORT ? 60_000 : 1_000_000;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['million', 'source', 'sums']);
});
afterAll(() => assertNothingLeft(before));

function heap(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

/**
 * What a third of the reads leaves on the heap, by the middle one of three: V8 puts what it has compiled there when it is done, in one
 * third or another, and what each read leaves is in all of them.
 */
function left(read: (times: number) => void): number {
  const thirds = Array.from({ length: 3 }, () => {
    const at = heap();
    read(READS / 3);
    return heap() - at;
  });
  return thirds.sort((a, b) => a - b)[1] ?? Number.NaN;
}

/** One loop for all: what V8 compiles of it is there when the heap is first looked at. */
function read(reader: MapReader, times: number): void {
  for (let i = 0; i < times; i++) reader.read();
}

describe(`${READS} reads leave the heap where it was`, () => {
  test.each<[ReadPath, string, number]>([
    ['mmap', 'array', MapFlags.MMAPABLE],
    ['snapshot', 'array', 0],
    ['batch', 'percpu_array', 0],
    ['lookup', 'hash', 0],
  ])('via %s of %s', { timeout: 240_000 }, (via, type, flags) => {
    using map = BpfMap.create({ name: 'million', type, keySize: 4, valueSize: 8, maxEntries: 2, flags });
    if (type === 'hash') map.set(0, new Uint8Array(map.slotSize));
    using reader = map.reader({ via });
    read(reader, 20_000);
    const { keys, values } = reader;
    heap();
    // Between two collections: what a read makes shows here, even if a collector would take it. V8 compiles now and then, in
    // one stretch or another; garbage of each read is in all of them.
    const stretches = Array.from({ length: 5 }, () => {
      const least = process.memoryUsage().heapUsed;
      read(reader, 10_000);
      return process.memoryUsage().heapUsed - least;
    });
    expect(stretches.sort((a, b) => a - b)[2]).toBeLessThan(64 * 1024);
    expect(left((times) => read(reader, times))).toBeLessThan((64 * 1024) / 3);
    expect([reader.keys === keys, reader.values === values]).toEqual([true, true]);
  });

  test('of a slot', { timeout: 120_000 }, () => {
    using map = BpfMap.create({ name: 'million', type: 'array', keySize: 4, valueSize: 8, maxEntries: 2 });
    const slot = map.slot(1);
    for (let i = 0; i < 20_000; i++) slot.read();
    const use = (times: number) => {
      for (let i = 0; i < times; i++) {
        slot.read();
        if (i % 16 === 0) slot.write();
      }
    };
    expect(left(use)).toBeLessThan((64 * 1024) / 3);
  });
});

test('a hash of a million entries: all of them, and no memory more at each read', {
  timeout: 240_000,
}, () => {
  const entries = 1_000_000;
  using map = BpfMap.create({ name: 'million', type: 'hash', keySize: 4, valueSize: 8, maxEntries: entries });
  const keys = Uint32Array.from({ length: entries }, (_, i) => i * 7);
  const values = BigUint64Array.from(keys, (key) => BigInt(key) * 3n);
  const bytes = (array: Uint32Array | BigUint64Array) => new Uint8Array(array.buffer);
  expect(map.setBatch(bytes(keys), bytes(values), entries)).toBe(entries);
  using reader = map.reader();
  expect([reader.via, reader.read(), reader.grown]).toEqual(['batch', entries, false]);
  const found = new Uint8Array(entries);
  const read = new Uint32Array(reader.keys.buffer);
  for (let row = 0; row < entries; row++) {
    const key = read[row] as number;
    if (reader.values[row] !== key * 3 || found[key / 7] !== 0) throw new Error(`row ${row} is wrong`);
    found[key / 7] = 1;
  }
  const numbers = () => {
    heap();
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    return heapUsed + external + arrayBuffers;
  };
  const at = numbers();
  const resident = process.memoryUsage.rss();
  for (let i = 0; i < 20; i++) expect(reader.read()).toBe(entries);
  expect(numbers() - at).toBeLessThan(MIB / 2);
  if (!process.env.NODE_EBPF_TEST_NODE) expect(process.memoryUsage.rss() - resident).toBeLessThan(8 * MIB);
  expect(map.deleteBatch(bytes(keys), entries)).toBe(entries);
  expect(reader.read()).toBe(0);
});
