import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EbpfError, EbpfStateError } from '../../../lib/core/errors.ts';
import { MapFlags, type MapSpec } from '../../../lib/core/map-spec.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { loadObjectSync } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { type Random, randomBytes } from '../../helpers/map-model.ts';
import { testObject } from '../../helpers/objects.ts';
import { seedOf, xorshift } from '../../helpers/random.ts';
import { SHORT } from '../../helpers/short.ts';

const CALLS = SHORT ? 4_000 : 10_000;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['fuzz', 'source', 'sums']);
});
afterAll(() => assertNothingLeft(before));

class Longer extends Uint8Array {
  override get length(): number {
    return 2 ** 31;
  }
}

function detached(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

type Resizable = new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(to: number): void };

/** One that follows its buffer, which was made shorter. */
function shrunk(from: number, to: number, tracking: boolean): Uint8Array {
  const buffer = new (ArrayBuffer as unknown as Resizable)(from, { maxByteLength: 2 * from });
  const bytes = tracking ? new Uint8Array(buffer) : new Uint8Array(buffer, 0, from);
  buffer.resize(to);
  return bytes;
}

/** Arguments that nobody should pass, and some that are right. */
function argument(random: Random, size: number): unknown {
  const any = size + random(4) - 2;
  const values: (() => unknown)[] = [
    () => new Uint8Array(size),
    () => randomBytes(random, size),
    () => new Uint8Array(Math.max(any, 0)),
    () => new Uint8Array(new ArrayBuffer(size + 9), 1 + random(8), size),
    () => new Uint8Array(new SharedArrayBuffer(size + 3), 3),
    () => detached(size),
    () => shrunk(size + 1, size, true),
    () => shrunk(size + 1, size >> 1, true),
    () => shrunk(size + 1, size >> 1, false),
    () => new Longer(size),
    () => Buffer.alloc(size),
    () => new Float64Array(size),
    () => new DataView(new ArrayBuffer(size)),
    () => new ArrayBuffer(size),
    () => [1, 2, 3, 4],
    () => undefined,
    () => null,
    () => random(10),
    () => -1,
    () => Number.NaN,
    () => 2 ** 32,
    () => 2 ** 53,
    () => Number.POSITIVE_INFINITY,
    () => 0.5,
    () => 5n,
    () => 'four',
    () => Symbol('key'),
    () => () => size,
    () => ({}),
    () => ({ fields: [random(9), 'x', -1][random(3)] }),
    () => ({ fields: [[random(9)], ['x'], [Number.NaN], [], [0, 0, 8]][random(5)] }),
    () => ({ via: ['mmap', 'snapshot', 'batch', 'lookup', 'auto', '', 5][random(7)] }),
    () => ({ capacity: [1, 0, -1, Number.NaN, 2 ** 40, '1', 7][random(7)] }),
    () => ({ perCpu: [true, false, 1, 'yes', null][random(5)] }),
    () => ({ take: [true, false, 1][random(3)], capacity: 1 + random(9) }),
    () => ({ intervalUs: [50, 1, 0, -1, Number.NaN, 2 ** 33][random(6)], rows: [1, 5, 0, -1][random(4)] }),
    () => ({ intervalUs: 100, signal: [null, 5, {}, AbortSignal.abort()][random(4)] }),
  ];
  return values[random(values.length)]?.();
}

const { NO_PREALLOC, MMAPABLE } = MapFlags;
const inner: MapSpec = { name: 'fuzz', type: 'array', keySize: 4, valueSize: 8, maxEntries: 1 };
const SPECS: MapSpec[] = [
  { type: 'hash', keySize: 4, valueSize: 8, maxEntries: 20 },
  { type: 'percpu_hash', keySize: 7, valueSize: 24, maxEntries: 20 },
  { type: 'array', keySize: 4, valueSize: 24, maxEntries: 9 },
  { type: 'array', keySize: 4, valueSize: 12, maxEntries: 9, flags: MMAPABLE },
  { type: 'percpu_array', keySize: 4, valueSize: 8, maxEntries: 9 },
  { type: 'lru_hash', keySize: 4, valueSize: 8, maxEntries: 20 },
  { type: 'lpm_trie', keySize: 8, valueSize: 8, maxEntries: 20, flags: NO_PREALLOC },
  { type: 'queue', keySize: 0, valueSize: 8, maxEntries: 20 },
  { type: 'bloom_filter', keySize: 0, valueSize: 8, maxEntries: 20 },
  { type: 'hash_of_maps', keySize: 4, valueSize: 4, maxEntries: 5, inner },
  { type: 'prog_array', keySize: 4, valueSize: 4, maxEntries: 5 },
  { type: 'ringbuf', keySize: 0, valueSize: 0, maxEntries: 4096 },
];

const typed = (error: unknown): boolean =>
  error instanceof EbpfError ||
  error instanceof TypeError ||
  error instanceof RangeError ||
  (error instanceof DOMException && error.name === 'AbortError');

const METHODS = [
  'get',
  'getInto',
  'set',
  'delete',
  'take',
  'slot',
  'setBatch',
  'deleteBatch',
  'keys',
  'entries',
  'info',
  'memory',
  'pin',
  'reader',
  'batch',
];

describe(`${CALLS} calls with random arguments: a result or a typed error, and never a crash`, () => {
  test.each(SPECS)('$type, flags $flags', { timeout: 240_000 }, async (spec) => {
    const random = xorshift(seedOf(`fuzz ${spec.type}`));
    using map = BpfMap.create({ name: 'fuzz', ...spec });
    const targets: Record<string, unknown>[] = [];
    let calls = 0;
    let failed = 0;
    const pending: Promise<unknown>[] = [];
    const refused = (error: unknown, what: string) => {
      failed++;
      if (!typed(error)) throw new Error(`${what} threw what has no type`, { cause: error });
    };
    const call = (target: Record<string, unknown>, name: string): void => {
      const values = Array.from({ length: random(5) }, (_, i) =>
        // A batch with a count that fits, now and then.
        name.endsWith('Batch') && i < 2 && random(2) === 0
          ? new Uint8Array(8 * map.slotSize + 8 * map.keySize)
          : argument(random, [map.keySize, map.slotSize][i % 2] ?? 4),
      );
      if (name === 'drain' && random(3) > 0) values[0] = () => {};
      // close() of the map ends this test's map: once, at the end.
      calls++;
      try {
        const result = (target[name] as (...values: unknown[]) => unknown)(...values);
        if (result instanceof Promise) pending.push(result.catch((error: unknown) => refused(error, name)));
        else if (name === 'keys' || name === 'entries') for (const _ of result as Iterable<unknown>);
        else if (['slot', 'reader', 'batch', 'sample'].includes(name)) {
          targets.push(result as Record<string, unknown>);
        }
      } catch (error) {
        refused(error, name);
      }
    };
    const NAMES: Record<string, readonly string[]> = {
      MapSlot: ['read', 'write'],
      MapReader: ['read', 'read', 'readBigInt', 'readAsync', 'sample', 'close'],
      BatchReader: ['next', 'next', 'rewind', 'close'],
      MapSampler: ['drain', 'drain', 'close'],
    };
    while (calls < CALLS) {
      const target = random(2) === 0 ? targets[random(targets.length)] : undefined;
      const names = target && NAMES[target.constructor.name];
      if (target && names) call(target, names[random(names.length)] as string);
      else call(map as unknown as Record<string, unknown>, METHODS[random(METHODS.length)] as string);
      if (targets.length > 12) (targets.shift() as unknown as { close?(): void }).close?.();
      if (calls % 500 === 0) await Promise.all(pending.splice(0));
    }
    await Promise.all(pending);
    expect(failed).toBeGreaterThan(CALLS / 10);
    for (const target of targets) (target as { close?(): void }).close?.();
    // It still is what it was.
    expect(map.info()).toMatchObject({ type: spec.type, maxEntries: spec.maxEntries });
    map.close();
    for (const name of METHODS) {
      if (name === 'pin') continue;
      for (let i = 0; i < 20; i++) call(map as unknown as Record<string, unknown>, name);
    }
  });

  test('create(), fromId(), fromPin()', () => {
    const random = xorshift(seedOf('fuzz create'));
    for (let i = 0; i < CALLS / 4; i++) {
      const member = () => [4, 8, 0, 1, -1, 2 ** 33, Number.NaN, '4', undefined, 2 ** 20][random(10)];
      const spec: unknown =
        random(5) === 0
          ? argument(random, 4)
          : {
              type: ['hash', 'array', 'percpu_hash', 'queue', 'arena', 'nothing', 5][random(7)],
              keySize: member(),
              valueSize: member(),
              maxEntries: member(),
              name: 'fuzz',
              ...(random(2) ? { flags: [0, 1, 1024, 2 ** 31, -1, 'x'][random(6)] } : {}),
              ...(random(9) ? {} : { inner: argument(random, 4) }),
            };
      for (const make of [
        () => BpfMap.create(spec as never).close(),
        () => BpfMap.fromPin(argument(random, 4) as never),
        () => BpfMap.fromId(argument(random, 9) as never).close(),
      ]) {
        try {
          make();
        } catch (error) {
          expect(typed(error)).toBe(true);
        }
      }
    }
  });
});

describe('wrong lengths', () => {
  test('are a RangeError, and no byte beyond is touched', () => {
    using map = BpfMap.create({ name: 'fuzz', type: 'hash', keySize: 6, valueSize: 10, maxEntries: 4 });
    const key = new Uint8Array(6);
    map.set(key, new Uint8Array(10).fill(5));
    for (const length of [0, 5, 7, 600]) {
      const wrong = new Uint8Array(length);
      for (const work of [
        () => map.get(wrong),
        () => map.set(wrong, new Uint8Array(10)),
        () => map.delete(wrong),
        () => map.take(wrong),
        () => map.slot(wrong),
      ]) {
        expect(caught(work)).toBeInstanceOf(RangeError);
      }
    }
    for (const length of [0, 9, 11]) expect(() => map.set(key, new Uint8Array(length))).toThrow(RangeError);
    expect(() => map.get(0)).toThrow(TypeError);
    expect(() => map.setBatch(new Uint8Array(12), new Uint8Array(19), 2)).toThrow(RangeError);
    expect(() => map.setBatch(new Uint8Array(11), new Uint8Array(20), 2)).toThrow(RangeError);
    expect(() => map.setBatch(detached(12), new Uint8Array(20), 2)).toThrow(RangeError);
    expect(() => map.setBatch(shrunk(12, 5, true), new Uint8Array(20), 2)).toThrow(RangeError);
    expect(() => map.setBatch(shrunk(12, 5, false), new Uint8Array(20), 2)).toThrow(RangeError);
    expect(() => map.deleteBatch(new Uint8Array(11), 2)).toThrow(RangeError);
    expect(() => map.deleteBatch(new Uint8Array(11), 2 ** 32 - 1)).toThrow(RangeError);
    const shared = new Uint8Array(new SharedArrayBuffer(40), 3, 20);
    expect(map.setBatch(new Uint8Array(new ArrayBuffer(20), 7, 12).fill(9), shared.fill(8), 2)).toBe(2);
    expect(map.get(new Uint8Array(6).fill(9))).toEqual(new Uint8Array(10).fill(8));
    expect(map.get(key)).toEqual(new Uint8Array(10).fill(5));
    const tracking = new (ArrayBuffer as unknown as Resizable)(4, { maxByteLength: 64 });
    const out = new Uint8Array(tracking);
    expect(() => map.getInto(key, out)).toThrow(RangeError);
    tracking.resize(10);
    expect(map.getInto(key, out)).toBe(true);
    expect(out).toEqual(new Uint8Array(10).fill(5));
  });
});

describe('closed handles', () => {
  test('a map that is closed is never written into another by its number', () => {
    const inside: MapSpec = { name: 'fuzz', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 2 };
    using outer = BpfMap.create({
      name: 'fuzz',
      type: 'hash_of_maps',
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      inner: inside,
    });
    const gone = BpfMap.create(inside);
    gone.close();
    using other = BpfMap.create(inside);
    expect(other.fd).toBe(gone.fd);
    expect(caught(() => outer.set(1, gone))).toBeInstanceOf(EbpfStateError);
    expect(outer.get(1)).toBeUndefined();
    using programs = BpfMap.create({
      name: 'fuzz',
      type: 'prog_array',
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
    });
    const object = loadObjectSync(testObject('pass'));
    const program = object.program('pass');
    object.close();
    expect(caught(() => programs.set(0, program))).toBeInstanceOf(EbpfStateError);
    for (const thing of [other, { tag: '', fd: 1 }, {}, null, 5]) {
      expect(caught(() => programs.set(0, thing as never))).toBeInstanceOf(TypeError);
    }
  });

  test('what was made of a map ends with it', async () => {
    const map = BpfMap.create({ name: 'fuzz', type: 'array', keySize: 4, valueSize: 8, maxEntries: 3 });
    const [reader, slot, scan, keys] = [map.reader(), map.slot(0), map.batch(), map.keys()];
    const sampler = reader.sample({ intervalUs: 100 });
    keys.next();
    map.close();
    map.close();
    for (const use of [
      () => map.get(0),
      () => map.reader(),
      () => map.reader({ fields: ['x'] }),
      () => map.reader({ via: 'batch' }),
      () => map.batch(),
      () => map.slot(),
      () => map.info(),
      () => map.freeze(),
      () => map.unpin(),
      () => map.memory(),
      () => map.setBatch(new Uint8Array(4), new Uint8Array(8), 1),
      () => reader.read(),
      () => reader.readBigInt(),
      () => reader.sample({ intervalUs: 1 }),
      () => slot.read(),
      () => slot.write(),
      () => scan.next(),
      () => keys.next(),
      () => sampler.drain(() => {}),
    ]) {
      expect(caught(use)).toBeInstanceOf(EbpfStateError);
    }
    await expect(reader.readAsync()).rejects.toBeInstanceOf(EbpfStateError);
    scan.close();
    expect(() => scan.next()).toThrow(EbpfStateError);
    expect([scan.keys.length, scan.values.length]).toEqual([0, 0]);
  });
});
