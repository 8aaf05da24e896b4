import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EbpfMapError, EbpfNotSupportedError, EbpfStateError } from '../../../lib/core/errors.ts';
import { MapFlags } from '../../../lib/core/map-spec.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import type { MapSampler } from '../../../lib/map/sampler.ts';
import { caught } from '../../helpers/caught.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['sampled', 'source', 'sums']);
});
afterAll(() => assertNothingLeft(before));

const counters = (flags = 0, maxEntries = 4): BpfMap =>
  BpfMap.create({ name: 'sampled', type: 'array', keySize: 4, valueSize: 16, maxEntries, flags });

const put = (map: BpfMap, key: number, a: number, b: number) =>
  map.set(key, new Uint8Array(BigUint64Array.of(BigInt(a), BigInt(b)).buffer));

const nowUs = (): number => Number(process.hrtime.bigint()) / 1000;

/** The JS thread does nothing at all. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function drained(sampler: MapSampler): { times: number[]; samples: number[][] } {
  const times: number[] = [];
  const samples: number[][] = [];
  sampler.drain((timesUs, values, rows) => {
    const width = values.length / timesUs.length;
    for (let i = 0; i < rows; i++) {
      times.push(timesUs[i] as number);
      samples.push([...values.subarray(i * width, (i + 1) * width)]);
    }
  });
  return { times, samples };
}

describe('every interval is accounted for', () => {
  test.each([
    [1000, MapFlags.MMAPABLE],
    [1000, 0],
    [100, MapFlags.MMAPABLE],
    [100, 0],
  ])('%d µs, flags %d, the JS thread blocked', { timeout: 60_000 }, (intervalUs, flags) => {
    using map = counters(flags);
    put(map, 2, 7, 9);
    using reader = map.reader();
    const start = nowUs();
    using sampler = reader.sample({ intervalUs, rows: 1e7 / intervalUs });
    const begun = nowUs();
    block(1000);
    const end = nowUs();
    const { times, samples } = drained(sampler);
    // A thread that is late counts what it missed when it wakes: with its next sample at the latest.
    while ((times.at(-1) ?? 0) < end) {
      const more = drained(sampler);
      times.push(...more.times);
      samples.push(...more.samples);
    }
    const missed = sampler.missed;
    const last = nowUs();
    expect(times.length + missed).toBeGreaterThanOrEqual(
      Math.floor(((times.at(-1) ?? 0) - begun) / intervalUs),
    );
    expect(times.length + missed).toBeLessThanOrEqual(Math.ceil((last - start) / intervalUs) + 1);
    expect(samples.every((sample) => sample.join() === '0,0,0,0,7,9,0,0')).toBe(true);
    for (const [i, time] of times.entries()) {
      expect(time).toBeGreaterThan(times[i - 1] ?? start);
      expect(time).toBeLessThan(last);
    }
  });

  test('stopped: samples and missed are the whole number of intervals', () => {
    using map = counters(MapFlags.MMAPABLE);
    using reader = map.reader();
    const sampler = reader.sample({ intervalUs: 500, rows: 64 });
    let samples = 0;
    let first: number | undefined;
    let last = 0;
    for (let round = 0; round < 20; round++) {
      block(10 + 5 * (round % 7)); // now and then the ring is full
      const { times } = drained(sampler);
      samples += times.length;
      first ??= times[0];
      last = times.at(-1) ?? last;
    }
    const { missed } = sampler;
    const span = (last - (first ?? 0)) / 500;
    expect(samples + missed).toBeGreaterThanOrEqual(Math.floor(span) - 1);
    sampler.close();
    expect(sampler.missed).toBeGreaterThanOrEqual(missed);
    expect(() => sampler.drain(() => {})).toThrow(EbpfStateError);
  });
});

describe('the ring', () => {
  test('is full: what comes then is missed, what is in it stays', async () => {
    using map = counters(MapFlags.MMAPABLE);
    using reader = map.reader();
    const attempt = async () => {
      put(map, 0, 1, 1);
      const sampler = reader.sample({ intervalUs: 200, rows: 5 });
      await until(() => sampler.missed > 20);
      put(map, 0, 2, 2); // nothing of this is in the ring
      return { sampler, first: drained(sampler) };
    };
    // A thread that does not get to run misses as many before its ring is full: that is another try.
    let { sampler: taken, first } = await attempt();
    for (let tries = 1; first.times.length < 5 && tries < 50; tries++) {
      taken.close();
      ({ sampler: taken, first } = await attempt());
    }
    using sampler = taken;
    expect(first.times).toHaveLength(5);
    expect(first.samples.map((sample) => sample[0])).toEqual([1, 1, 1, 1, 1]);
    const second = await until(() => {
      const { samples, times } = drained(sampler);
      return times.length > 0 && { samples, times };
    });
    expect(second.samples[0]?.[0]).toBe(2);
    expect(second.times[0]).toBeGreaterThan(first.times.at(-1) as number);
  });

  test('wraps: samples stay in order, each with its own time', () => {
    using map = counters();
    using reader = map.reader();
    using sampler = reader.sample({ intervalUs: 100, rows: 37 });
    let written = 0;
    let [lastTime, lastValue] = [0, 0];
    const deadline = nowUs() + 500_000;
    while (nowUs() < deadline) {
      put(map, 0, ++written, written);
      const { times, samples } = drained(sampler);
      for (const [i, time] of times.entries()) {
        const [a, b] = samples[i] as number[];
        expect(time).toBeGreaterThan(lastTime);
        expect(a).toBeGreaterThanOrEqual(lastValue);
        expect(b).toBeLessThanOrEqual(written);
        [lastTime, lastValue] = [time, a as number];
      }
    }
    expect(lastValue).toBeGreaterThan(0);
  });
});

describe('its end', () => {
  test('by a signal', async () => {
    using map = counters();
    using reader = map.reader();
    const controller = new AbortController();
    const sampler = reader.sample({ intervalUs: 100, signal: controller.signal });
    await sleep(5);
    controller.abort();
    expect(() => sampler.drain(() => {})).toThrow(EbpfStateError);
    expect(caught(() => reader.sample({ intervalUs: 100, signal: controller.signal }))).toMatchObject({
      name: 'AbortError',
    });
    expect(reader.read()).toBe(4);
  });

  test.each(['sampler', 'reader', 'map'])('close() of the %s, while it samples', (what) => {
    for (let round = 0; round < 50; round++) {
      const map = counters(round % 2 ? MapFlags.MMAPABLE : 0, 500);
      const reader = map.reader();
      const samplers = [1, 2, 3].map(() => reader.sample({ intervalUs: 10, rows: 8 }));
      if (round % 5 === 0) block(1);
      if (what === 'sampler') for (const sampler of samplers) sampler.close();
      else if (what === 'reader') reader.close();
      else map.close();
      for (const sampler of samplers) {
        expect(() => sampler.drain(() => {})).toThrow(EbpfStateError);
        sampler.close();
      }
      map.close();
    }
  });

  test('inside drain()', async () => {
    using map = counters();
    using reader = map.reader();
    using sampler = reader.sample({ intervalUs: 100 });
    const close = (timesUs: Float64Array, values: Float64Array, rows: number) => {
      sampler.close();
      expect([timesUs.length, values.length, rows > 0]).toEqual([1024, 8 * 1024, true]);
    };
    await until(() => sampler.drain(close) > 0);
    expect(() => sampler.drain(() => {})).toThrow(EbpfStateError);
  });
});

test('refused: hashes, and what is no interval', () => {
  using hash = BpfMap.create({ name: 'sampled', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 4 });
  using rows = hash.reader();
  expect(() => rows.sample({ intervalUs: 100 })).toThrow(EbpfNotSupportedError);
  using map = counters();
  using reader = map.reader();
  for (const bad of [0, -1, Number.NaN, 0.5, 2 ** 32, '5', undefined]) {
    expect(() => reader.sample({ intervalUs: bad as number })).toThrow(RangeError);
    if (bad !== undefined)
      expect(() => reader.sample({ intervalUs: 9, rows: bad as number })).toThrow(RangeError);
  }
  using sampler = reader.sample({ intervalUs: 100 });
  expect(() => sampler.drain(undefined as never)).toThrow(TypeError);
});

test('what the kernel says to a read', async () => {
  using map = counters(MapFlags.WRONLY);
  using reader = map.reader({ via: 'batch' });
  expect(caught(() => reader.read())).toMatchObject({ name: 'EbpfMapError', code: 'EPERM' });
  using sampler = reader.sample({ intervalUs: 100 });
  await until(() => sampler.missed > 3);
  expect(() => sampler.drain(() => {})).toThrow(EbpfMapError);
});
