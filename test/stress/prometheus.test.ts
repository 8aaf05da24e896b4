// A real Prometheus, for five minutes in the long form: what it was given is what was sent, and its rates are those of the traffic.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { endCommands } from '../helpers/command.ts';
import { LONG } from '../helpers/extent.ts';
import { tcp4, udp4 } from '../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { Prometheus } from '../helpers/prometheus.ts';
import { sendFrames } from '../helpers/send.ts';
import { Serving } from '../helpers/serving.ts';
import { until } from '../helpers/until.ts';
import { World } from '../helpers/world.ts';

const SECONDS = LONG ? 300 : 60;
const SCRAPE_SECONDS = 2;
/** Of the rates. */
const WINDOW = LONG ? 60 : 20;
/** `/metrics` answers with what is at most so old. */
const MAX_AGE_SECONDS = 0.1;

let before: Snapshot;
let world: World;
let prometheus: Prometheus | undefined;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  world = new World();
});
afterEach(async () => {
  await prometheus?.close();
  endCommands();
  await world.close();
});
afterAll(() => assertNothingLeft(before));

interface Batch {
  /** In seconds since 1970. */
  readonly from: number;
  readonly to: number;
  readonly packets: number;
}

/** What was sent, and when. */
class Sent {
  readonly batches: Batch[] = [];

  /** What had been sent for certain. */
  atLeast(time: number): number {
    return this.#sum(({ to }) => to <= time);
  }

  /** What may have been sent. */
  atMost(time: number): number {
    return this.#sum(({ from }) => from <= time);
  }

  /** The most in any `seconds`. */
  most(seconds: number): number {
    return Math.max(...this.batches.map(({ to }) => this.atMost(to) - this.atLeast(to - seconds)));
  }

  #sum(counts: (batch: Batch) => boolean): number {
    return this.batches.filter(counts).reduce((sum, { packets }) => sum + packets, 0);
  }
}

const seconds = () => Date.now() / 1000;
const memoryOf = (pid = 0) => {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return { rss: Number(kilobytes) * 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
};

it(`for ${SECONDS} seconds`, { timeout: 2 * SECONDS * 1000 }, async () => {
  const { netns, veth, iface } = world;
  const serving = new Serving([iface, '--netns', netns.path, '--listen', '127.0.0.1:0']);
  const folder = world.folder();
  const config = join(folder, 'prometheus.yml');
  writeFileSync(
    config,
    JSON.stringify({
      global: { scrape_interval: `${SCRAPE_SECONDS}s` },
      scrape_configs: [
        { job_name: 'node-ebpf', static_configs: [{ targets: [new URL(await serving.url()).host] }] },
      ],
    }),
  );
  prometheus = await Prometheus.start(config, folder);
  const scraper = prometheus;
  const counter = (protocol: string) => `ebpf_packets_total{interface="${iface}",protocol="${protocol}"}`;
  await until(async () => (await scraper.query(counter('udp'))).length > 0, undefined, 30_000);

  // Some TCP all the time; UDP a little, then much, then none.
  const sent = { tcp: new Sent(), udp: new Sent() };
  const frames = { tcp: tcp4(), udp: udp4() };
  const start = seconds();
  const end = start + SECONDS;
  let settled: ReturnType<typeof memoryOf> | undefined;
  for (let turn = 0; seconds() < end; turn++) {
    const third = Math.min(Math.floor((3 * (seconds() - start)) / SECONDS), 2);
    const counts = { tcp: 40, udp: [150, 600, 0][third] ?? 0 };
    const from = seconds();
    await sendFrames(
      (['tcp', 'udp'] as const).map((name) => ({ frame: frames[name], count: counts[name] })),
      { netns, iface: veth.a.name, receiver: iface },
    );
    const to = seconds();
    for (const name of ['tcp', 'udp'] as const) sent[name].batches.push({ from, to, packets: counts[name] });
    if (seconds() - start > SECONDS / 3) settled ??= memoryOf(serving.child.pid);
    await sleep(Math.max(start + turn + 1 - seconds(), 0) * 1000);
  }
  await sleep(2 * SCRAPE_SECONDS * 1000);
  const range = `${SECONDS + 60}s`;

  // It was there all the time.
  const up = (await scraper.samples(`up[${range}]`))[0]?.samples ?? [];
  expect(up.filter(([, value]) => value !== 1)).toEqual([]);
  expect(up.length).toBeGreaterThan((0.7 * SECONDS) / SCRAPE_SECONDS);
  const [took] = await scraper.samples(`scrape_duration_seconds[${range}]`);
  const durations = new Map(took?.samples);

  let jitter = 0;
  for (const [i, [time]] of up.entries()) jitter = Math.max(jitter, time - (up[i - 1]?.[0] ?? time));
  for (const protocol of ['tcp', 'udp'] as const) {
    const of = sent[protocol];
    const total = of.atMost(Number.POSITIVE_INFINITY);
    const [series] = await scraper.samples(`${counter(protocol)}[${range}]`);
    // Each scrape has a sample, and each sample is what had arrived then, to the packet.
    const sampled = new Map(series?.samples);
    for (const [time] of up) {
      const value = sampled.get(time);
      expect(value, `${protocol} at ${time}`).toBeGreaterThanOrEqual(of.atLeast(time - MAX_AGE_SECONDS));
      expect(value, `${protocol} at ${time}`).toBeLessThanOrEqual(
        of.atMost(time + (durations.get(time) ?? 0)),
      );
    }
    expect(series?.samples.at(-1)?.[1]).toBe(total);
    expect(total).toBeGreaterThan(1000);

    // A window begins and ends between two scrapes: so much of it may be another rate's.
    const least = of.most(jitter + 1) * 2;
    for (let time = start + WINDOW; time <= end; time += 10) {
      const [{ value } = { value: Number.NaN }] = await scraper.query(
        `rate(${counter(protocol)}[${WINDOW}s])`,
        time,
      );
      const expected = of.atLeast(time) - of.atLeast(time - WINDOW);
      expect(Math.abs(value * WINDOW - expected), `${protocol}, ${time - start} s`).toBeLessThanOrEqual(
        least,
      );
    }
    // Whatever looks at the same packets says the same of all of them.
    const flow = `sum(ebpf_flow_packets_total{interface="${iface}",direction="ingress",protocol="${protocol}"})`;
    expect((await scraper.query(flow)).map(({ value }) => value)).toEqual([total]);
    const size = counter(protocol).replace('packets', 'packet_bytes');
    expect((await scraper.query(size)).map(({ value }) => value)).toEqual([total * frames[protocol].length]);
  }
  const received = `ebpf_net_packets_total{interface="${iface}",direction="receive"}`;
  const all = sent.tcp.atMost(end) + sent.udp.atMost(end);
  expect((await scraper.query(received)).map(({ value }) => value)).toEqual([all]);
  expect(
    (await scraper.query(`min_over_time(ebpf_health{component="ebpf_loader"}[${range}])`))[0]?.value,
  ).toBe(1);
  const calls = await scraper.query(`sum(increase(ebpf_syscall_latency_seconds_count[${WINDOW}s]))`);
  expect(calls[0]?.value).toBeGreaterThan(0);

  // Two thirds of the time later it takes no more.
  const { rss, descriptors } = memoryOf(serving.child.pid);
  console.log(`serve: ${settled?.rss} bytes resident, later ${rss}; scrapes at most ${jitter} s apart`);
  expect(rss - (settled?.rss ?? 0)).toBeLessThan(32 << 20);
  expect(descriptors - (settled?.descriptors ?? 0)).toBeLessThanOrEqual(0);
  expect(await serving.end()).toBe(0);
});
