import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EbpfMapError } from '../../../lib/core/errors.ts';
import { MapFlags, type MapSpec } from '../../../lib/core/map-spec.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { caught } from '../../helpers/caught.ts';
import { LONG } from '../../helpers/extent.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import {
  dumped,
  hex,
  MapModel,
  type Random,
  randomBytes,
  randomKey,
  trimmed,
  unhex,
} from '../../helpers/map-model.ts';
import { seedOf, xorshift } from '../../helpers/random.ts';
import { SHORT } from '../../helpers/short.ts';

const OPERATIONS = SHORT ? 2_000 : LONG ? 10_000 : 4_000;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['property']);
});
afterAll(() => assertNothingLeft(before));

/** The errno of what `work` throws, or undefined. */
function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof EbpfMapError)) throw error;
    return error.code;
  }
}

/** One random operation after the other, each with what the model says of it. */
class Driver {
  readonly model: MapModel;
  readonly #map: BpfMap;
  readonly #random: Random;
  readonly #counts: Record<string, number> = {};

  constructor(map: BpfMap, random: Random) {
    this.#map = map;
    this.#random = random;
    this.model = new MapModel(map);
  }

  get #lossy(): boolean {
    return this.model.kind === 'lru';
  }

  #key(): Uint8Array {
    return randomKey(this.#random, this.#map);
  }

  #value(): Uint8Array {
    return randomBytes(this.#random, this.#map.slotSize);
  }

  // A map that evicts may have lost any key: then the model forgets it as well.
  #agree(key: Uint8Array, found: Uint8Array | undefined): void {
    if (found === undefined && this.#lossy) this.model.rows.delete(hex(key));
    expect(found && trimmed(this.#map, found)).toBe(this.model.find(key));
  }

  /** A write: the same refusal as the model's, and the same rows. */
  #write(key: Uint8Array, value: Uint8Array, flags: number, write: () => void): void {
    const wanted = this.model.refusal(key, flags);
    const code = codeOf(write);
    if (this.#lossy && code === 'ENOENT' && flags === 2) this.model.rows.delete(hex(key));
    else if (this.#lossy && code === undefined && wanted === 'EEXIST') this.model.rows.delete(hex(key));
    else expect(code).toBe(wanted);
    if (code === undefined) this.model.rows.set(hex(key), trimmed(this.#map, value));
  }

  set(): void {
    const [key, value] = [this.#key(), this.#value()];
    const flags = this.#random(3);
    this.#write(key, value, flags, () => this.#map.set(key, value, flags));
  }

  get(): void {
    const key = this.#key();
    this.#agree(key, this.#map.get(key));
  }

  getInto(): void {
    const key = this.#key();
    const out = new Uint8Array(this.#map.slotSize + 16).fill(0xaa);
    const from = this.#random(9);
    const found = this.#map.getInto(key, out.subarray(from));
    const rest = [...out.subarray(0, from), ...out.subarray(from + this.#map.slotSize)];
    expect(rest.every((byte) => byte === 0xaa)).toBe(true);
    if (!found) expect(out.every((byte) => byte === 0xaa)).toBe(true);
    this.#agree(key, found ? out.subarray(from, from + this.#map.slotSize) : undefined);
  }

  delete(): void {
    const key = this.#key();
    if (this.model.kind === 'array') {
      expect(codeOf(() => this.#map.delete(key))).toBe('EINVAL');
      return;
    }
    const was = this.model.rows.delete(hex(key));
    const removed = this.#map.delete(key);
    if (!this.#lossy || removed) expect(removed).toBe(was);
  }

  take(): void {
    const key = this.#key();
    if (this.model.kind === 'array' || this.model.kind === 'lpm') {
      expect(codeOf(() => this.#map.take(key))).toBe('ENOTSUPP');
      return;
    }
    this.#agree(key, this.#map.take(key));
    this.model.rows.delete(hex(key));
  }

  slot(): void {
    const key = this.#key();
    const slot = this.#map.slot(this.#random(2) === 0 ? key : undefined);
    slot.key.set(key);
    this.#agree(key, slot.read() ? slot.value : undefined);
    const value = this.#value();
    slot.value.set(value);
    const flags = this.#random(3);
    this.#write(key, value, flags, () => slot.write(flags));
  }

  #whole(rows: Iterable<readonly [string, string]>): void {
    const found = new Map<string, string>();
    for (const [key, value] of rows) {
      expect(found.has(key)).toBe(false);
      found.set(key, value);
    }
    if (!this.#lossy) {
      expect(found).toEqual(this.model.rows);
      return;
    }
    for (const [key, value] of found) expect(this.model.rows.get(key)).toBe(value);
    for (const key of [...this.model.rows.keys()]) if (!found.has(key)) this.model.rows.delete(key);
  }

  keys(): void {
    this.#whole([...this.#map.keys()].map((key) => [hex(key), this.model.rows.get(hex(key)) ?? 'not there']));
  }

  entries(): void {
    const entries = this.#random(2) === 0 ? this.#map.entries() : this.#map;
    this.#whole([...entries].map(([key, value]) => [hex(key), trimmed(this.#map, value)]));
  }

  dump(): void {
    this.#whole(dumped(this.#map));
  }

  #scanned(take: boolean): [string, string][] {
    using scan = this.#map.batch({ capacity: 1 + this.#random(2 * this.#map.maxEntries), take });
    expect([scan.keyStride, scan.valueStride]).toEqual([this.#map.keySize, this.#map.slotSize]);
    const passes = take ? 1 : 1 + this.#random(2);
    const rows: [string, string][] = [];
    for (let pass = 0; pass < passes; pass++) {
      rows.length = 0;
      for (let count = scan.next(); count > 0; count = scan.next()) {
        for (let i = 0; i < count; i++) {
          rows.push([
            hex(scan.keys.subarray(i * scan.keyStride, (i + 1) * scan.keyStride)),
            trimmed(this.#map, scan.values.subarray(i * scan.valueStride, (i + 1) * scan.valueStride)),
          ]);
        }
        // Half of the time, a part of the map is enough.
        if (!take && pass + 1 < passes && this.#random(2) === 0) break;
      }
      scan.rewind();
    }
    return rows;
  }

  batch(): void {
    this.#whole(this.#scanned(false));
  }

  batchTake(): void {
    if (this.model.kind === 'array' || this.model.kind === 'lpm') {
      expect(codeOf(() => this.#scanned(true))).toBe('ENOTSUPP');
      return;
    }
    this.#whole(this.#scanned(true));
    this.model.rows.clear();
    expect([...this.#map.keys()]).toEqual([]);
  }

  setBatch(): void {
    const map = this.#map;
    const count = this.#random(12);
    const keys = new Uint8Array(count * map.keySize + this.#random(3));
    const values = new Uint8Array(count * map.slotSize + this.#random(3));
    const flags = this.#random(3);
    const rows = Array.from({ length: count }, () => [this.#key(), this.#value()] as const);
    rows.forEach(([key, value], i) => {
      keys.set(key, i * map.keySize);
      values.set(value, i * map.slotSize);
    });
    // Of one that evicts, the model cannot say where a flag stops it.
    const asked = this.#lossy ? 0 : flags;
    let stopped: { at: number; code: string } | undefined;
    for (const [i, [key, value]] of rows.entries()) {
      const code = this.model.refusal(key, asked);
      if (code !== undefined) {
        stopped = { at: i, code };
        break;
      }
      this.model.rows.set(hex(key), trimmed(map, value));
    }
    if (stopped === undefined) {
      expect(map.setBatch(keys, values, count, asked)).toBe(count);
      return;
    }
    const error = caught(() => map.setBatch(keys, values, count, asked));
    expect(error).toMatchObject({ name: 'EbpfMapError', code: stopped.code });
    expect(String(error)).toContain(`(${stopped.at} of ${count} are done)`);
  }

  deleteBatch(): void {
    const map = this.#map;
    const count = this.#random(6);
    const known = [...this.model.rows.keys()];
    const keys = new Uint8Array(count * map.keySize);
    const wanted = Array.from({ length: count }, () =>
      known.length > 0 && this.#random(4) > 0
        ? unhex(known[this.#random(known.length)] as string)
        : this.#key(),
    );
    wanted.forEach((key, i) => {
      keys.set(key, i * map.keySize);
    });
    if (this.model.kind === 'array') {
      expect(codeOf(() => map.deleteBatch(keys, count))).toBe(count > 0 ? 'EINVAL' : undefined);
      return;
    }
    const removed = map.deleteBatch(keys, count);
    if (this.#lossy) expect(removed).toBeLessThanOrEqual(count);
    let expected = 0;
    for (const key of wanted) {
      if (this.#lossy ? expected === removed : !this.model.rows.has(hex(key))) break;
      this.model.rows.delete(hex(key));
      expected++;
    }
    expect(removed).toBe(expected);
  }

  static readonly #OFTEN = ['set', 'set', 'set', 'get', 'getInto', 'slot', 'delete', 'take'] as const;
  static readonly #SELDOM = ['setBatch', 'deleteBatch', 'keys', 'entries', 'batch'] as const;

  run(operations: number): void {
    for (let i = 0; i < operations; i++) {
      const seldom = this.#random(8) === 0;
      const list = seldom ? Driver.#SELDOM : Driver.#OFTEN;
      const name =
        i % 1000 === 999
          ? 'dump'
          : this.#random(200) === 0
            ? 'batchTake'
            : (list[this.#random(list.length)] ?? 'set');
      this.#counts[name] = (this.#counts[name] ?? 0) + 1;
      try {
        this[name]();
      } catch (error) {
        throw new Error(`operation ${i}, ${name}, of a ${this.#map.type} map`, { cause: error });
      }
    }
    this.dump();
    expect(Object.keys(this.#counts)).toHaveLength(2 + Driver.#SELDOM.length + new Set(Driver.#OFTEN).size);
  }
}

const { NO_PREALLOC, NO_COMMON_LRU } = MapFlags;

const KEYED: [string, MapSpec][] = [
  ['hash, 1-byte values', { type: 'hash', keySize: 4, valueSize: 1, maxEntries: 24 }],
  ['hash, long keys', { type: 'hash', keySize: 37, valueSize: 100, maxEntries: 24 }],
  ['hash, 1-byte keys', { type: 'hash', keySize: 1, valueSize: 8, maxEntries: 24 }],
  ['hash, no prealloc', { type: 'hash', keySize: 6, valueSize: 3, maxEntries: 24, flags: NO_PREALLOC }],
  ['array, 3-byte values', { type: 'array', keySize: 4, valueSize: 3, maxEntries: 24 }],
  ['array, mapped', { type: 'array', keySize: 4, valueSize: 12, maxEntries: 24, flags: MapFlags.MMAPABLE }],
  ...[1, 7, 8, 100, 4096].map((valueSize): [string, MapSpec] => [
    `percpu_array, values of ${valueSize}`,
    { type: 'percpu_array', keySize: 4, valueSize, maxEntries: 6 },
  ]),
  ...[1, 12, 513, 4096].map((valueSize): [string, MapSpec] => [
    `percpu_hash, values of ${valueSize}`,
    { type: 'percpu_hash', keySize: 5, valueSize, maxEntries: 8 },
  ]),
  [
    'percpu_hash, no prealloc',
    { type: 'percpu_hash', keySize: 4, valueSize: 8, maxEntries: 8, flags: NO_PREALLOC },
  ],
  ['lru_hash', { type: 'lru_hash', keySize: 4, valueSize: 9, maxEntries: 40 }],
  [
    'lru_hash, a list for each CPU',
    { type: 'lru_hash', keySize: 4, valueSize: 9, maxEntries: 40, flags: NO_COMMON_LRU },
  ],
  ...[1, 12, 4096].map((valueSize): [string, MapSpec] => [
    `lru_percpu_hash, values of ${valueSize}`,
    { type: 'lru_percpu_hash', keySize: 4, valueSize, maxEntries: 20 },
  ]),
  ['lpm_trie', { type: 'lpm_trie', keySize: 8, valueSize: 5, maxEntries: 24, flags: NO_PREALLOC }],
  ['lpm_trie, IPv6', { type: 'lpm_trie', keySize: 20, valueSize: 8, maxEntries: 24, flags: NO_PREALLOC }],
];

describe(`${OPERATIONS} random operations are what a model says`, () => {
  test.each(KEYED)('%s', { timeout: 120_000 }, (name, spec) => {
    using map = BpfMap.create({ name: 'property', ...spec });
    new Driver(map, xorshift(seedOf(name))).run(OPERATIONS);
  });
});
