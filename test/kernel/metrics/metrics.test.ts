import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { endianness } from 'node:os';
import { fileURLToPath } from 'node:url';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EbpfMapError } from '../../../lib/core/errors.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { EbpfMetrics } from '../../../lib/metrics/ebpf-metrics.ts';
import { healthHandler, metricsHandler } from '../../../lib/metrics/handlers.ts';
import { observe } from '../../../lib/metrics/otel.ts';
import { SyscallLatency } from '../../../lib/programs/syscall-latency.ts';
import { TcClassifier } from '../../../lib/programs/tc-classifier.ts';
import { TracepointNet } from '../../../lib/programs/tracepoint-net.ts';
import { XdpCounter } from '../../../lib/programs/xdp-counter.ts';
import { XdpGuard } from '../../../lib/programs/xdp-guard.ts';
import { endChildren } from '../../helpers/child.ts';
import * as frames from '../../helpers/frames.ts';
import {
  assertNothingLeft,
  bpftool,
  linksOf,
  type Snapshot,
  snapshotIds,
  xdpOf,
} from '../../helpers/kernel.ts';
import { createNetns } from '../../helpers/netns.ts';
import { shippedObject } from '../../helpers/objects.ts';
import { samplesOf } from '../../helpers/samples.ts';
import { sendFrames } from '../../helpers/send.ts';
import { World } from '../../helpers/world.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

/** The samples of a scrape, by what is left of the value. */
async function scraped(metrics: EbpfMetrics): Promise<Map<string, number>> {
  return samplesOf(await metrics.scrape());
}
const named = (samples: Map<string, number>, name: string) =>
  new Map([...samples].filter(([series]) => series === name || series.startsWith(`${name}{`)));

describe('bundled programs', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.close());
  const send = (count: number) =>
    sendFrames([{ frame: frames.udp4(frames.bytes(100)), count }], {
      netns: world.netns,
      iface: world.veth.a.name,
      receiver: world.veth.b.name,
    });
  const BYTES = frames.udp4(frames.bytes(100)).length;
  const udp = () => `{interface="${world.iface}",protocol="udp"}`;

  it('XdpCounter: the packets that were sent, and no fewer after the program was made anew', async () => {
    using metrics = new EbpfMetrics();
    const first = await XdpCounter.attach(world.at);
    metrics.add(first);
    await send(321);
    let samples = await scraped(metrics);
    expect(samples.get(`ebpf_packets_total${udp()}`)).toBe(321);
    expect(samples.get(`ebpf_packet_bytes_total${udp()}`)).toBe(321 * BYTES);
    expect(samples.get(`ebpf_programs_attached{interface="${world.iface}",program_type="xdp"}`)).toBe(1);
    expect(samples.get(`ebpf_programs_loaded_total{program_type="xdp"}`)).toBe(1);
    await send(10);
    expect(metrics.remove(first)).toBe(true);
    first.close();
    samples = await scraped(metrics);
    expect(samples.get(`ebpf_packets_total${udp()}`)).toBe(331);
    expect(named(samples, 'ebpf_programs_attached').size).toBe(0);
    using second = await XdpCounter.attach(world.at);
    metrics.add(second);
    await send(7);
    expect((await scraped(metrics)).get(`ebpf_packets_total${udp()}`)).toBe(338);
    // Closed without remove(): what the last scrape said stays.
    second.close();
    samples = await scraped(metrics);
    expect(samples.get(`ebpf_packets_total${udp()}`)).toBe(338);
    expect(metrics.remove(second)).toBe(false);
  });

  it('XdpGuard: what passed and what it dropped', async () => {
    using metrics = new EbpfMetrics();
    using guard = await XdpGuard.attach(world.at);
    metrics.add(guard);
    await send(30);
    const samples = await scraped(metrics);
    expect(samples.get(`ebpf_guard_packets_total{interface="${world.iface}",verdict="passed"}`)).toBe(30);
    expect(samples.get(`ebpf_guard_bytes_total{interface="${world.iface}",verdict="dropped"}`)).toBe(0);
  });

  it('TcClassifier: classes, and the flows of the most bytes; the others are counted', async () => {
    using metrics = new EbpfMetrics({ flows: 1 });
    using classifier = await TcClassifier.attach({ ...world.at, direction: 'ingress' });
    metrics.add(classifier);
    await send(50);
    await sendFrames([{ frame: frames.tcp4(frames.bytes(10)), count: 3 }], {
      netns: world.netns,
      iface: world.veth.a.name,
      receiver: world.veth.b.name,
    });
    const samples = await scraped(metrics);
    const flows = classifier.flows(Number.POSITIVE_INFINITY);
    const [most] = flows;
    expect(most).toMatchObject({ protocol: 'udp', packets: 50 });
    expect([...named(samples, 'ebpf_flow_packets_total').values()]).toEqual([50]);
    expect(samples.get('ebpf_map_entries{program="tc_classifier",map="flows"}')).toBe(flows.length);
    expect(samples.get('ebpf_map_max_entries{program="tc_classifier",map="flows"}')).toBe(131_072);
    expect(samples.get(`ebpf_flows_created_total{interface="${world.iface}"}`)).toBe(flows.length);
    expect(samples.get(`ebpf_flows_evicted_total{interface="${world.iface}"}`)).toBe(0);
    expect(samples.get('ebpf_series_left_out_total{metric="ebpf_flow_bytes_total"}')).toBe(flows.length - 1);
  });

  it('SyscallLatency: a histogram whose buckets are the slots', async () => {
    using metrics = new EbpfMetrics();
    using latency = await SyscallLatency.attach({ pid: process.pid, syscalls: ['read'] });
    metrics.add(latency);
    await send(1); // reads of child processes' output
    const samples = await scraped(metrics);
    const { read } = latency.read();
    const buckets = [...named(samples, 'ebpf_syscall_latency_seconds_bucket')];
    expect(buckets).toHaveLength(36);
    const counts = buckets.map(([, count]) => count);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    const count = samples.get('ebpf_syscall_latency_seconds_count{syscall="read"}') ?? 0;
    expect(buckets.at(-1)?.[0]).toBe('ebpf_syscall_latency_seconds_bucket{syscall="read",le="+Inf"}');
    expect(counts.at(-1)).toBe(count);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(read?.count ?? 0);
  });

  it('TracepointNet: what interfaces received and sent', async () => {
    using metrics = new EbpfMetrics();
    using net = await TracepointNet.attach({ netns: world.netns.path });
    metrics.add(net);
    await send(25);
    const samples = await scraped(metrics);
    const of = (name: string, direction: string) =>
      samples.get(`ebpf_net_packets_total{interface="${name}",direction="${direction}"}`);
    const { [world.veth.b.name]: receiver, [world.veth.a.name]: sender } = net.interfaces();
    expect(of(world.veth.b.name, 'receive')).toBe(receiver?.rx.packets);
    expect(of(world.veth.a.name, 'transmit')).toBe(sender?.tx.packets);
    expect(receiver?.rx.packets).toBeGreaterThanOrEqual(25);
  });

  it('a loader: attachments, errors by interface, and a detachment behind its back', async () => {
    const { loader } = world;
    using metrics = new EbpfMetrics({ loader });
    const handle = await loader.loadProgram(shippedObject('xdp_counter'));
    const { link } = await loader.attachXdp(handle, world.at);
    await expect(loader.attachXdp(handle, { ...world.at, iface: 'none0' })).rejects.toThrow();
    expect(metrics.health()).toMatchObject({ status: 'healthy', component: 'ebpf_loader' });
    let samples = await scraped(metrics);
    expect(samples.get('ebpf_health{component="ebpf_loader"}')).toBe(1);
    expect(
      samples.get('ebpf_attachment_errors_total{interface="none0",error_type="ERR_EBPF_NO_INTERFACE"}'),
    ).toBe(1);
    expect(samples.get(`ebpf_programs_attached_total{interface="${world.iface}",program_type="xdp"}`)).toBe(
      1,
    );
    bpftool('link', 'detach', 'id', String(link.id));
    samples = await scraped(metrics);
    expect(samples.get('ebpf_health{component="ebpf_loader"}')).toBe(0);
    expect(named(samples, 'ebpf_programs_attached_total').size).toBe(0);
  });
});

describe('maps by declaration', () => {
  const U32 = 4;
  const map = (maxEntries: number, type = 'hash') =>
    BpfMap.create({ name: 'declared', type, keySize: 8, valueSize: 16, maxEntries });
  const set = (target: BpfMap, ifindex: number, state: number, count: bigint, ns: bigint) =>
    target.set(
      new Uint8Array(Uint32Array.of(ifindex, state).buffer),
      new Uint8Array(BigUint64Array.of(count, ns).buffer),
    );
  const labels = { interface: { at: 0, as: 'ifindex' }, state: { at: U32, as: { 1: 'OPEN' } } } as const;
  const metric = (name: string, more: object = {}) => ({
    name,
    help: 'a test',
    type: 'counter' as const,
    ...more,
  });

  it('numbers by offset, scaled, with labels from the key', async () => {
    using own = map(10);
    set(own, 1, 1, 5n, 2_000_000_000n);
    set(own, 4_000_000, 9, 6n, 0n);
    using metrics = new EbpfMetrics();
    metrics.addMap(own, {
      metrics: [metric('test_calls_total'), metric('test_seconds_total', { field: 8, scale: 1e-9 })],
      labels,
    });
    const samples = await scraped(metrics);
    expect(Object.fromEntries(named(samples, 'test_calls_total'))).toEqual({
      'test_calls_total{interface="lo",state="OPEN"}': 5,
      'test_calls_total{interface="ifindex 4000000",state="9"}': 6,
    });
    expect(samples.get('test_seconds_total{interface="lo",state="OPEN"}')).toBe(2);
    expect(samples.get('ebpf_map_entries{program="",map="declared"}')).toBe(2);
  });

  it('labels of every kind, as the kernel has them in memory', async () => {
    const LITTLE = endianness() === 'LE';
    const key = new Uint8Array(64);
    const view = new DataView(key.buffer);
    key[0] = 200;
    view.setUint16(2, 40_000, LITTLE);
    view.setBigUint64(8, 2n ** 63n, LITTLE);
    view.setUint16(16, 443); // as it is on the wire
    key.set([192, 0, 2, 7], 20);
    key.set([0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0), 1], 24);
    key.set(Buffer.from('node\0garbage'), 40);
    view.setUint32(56, 0, LITTLE); // read, on x86-64
    view.setUint32(60, 0xffff_fff0, LITTLE);
    using own = BpfMap.create({
      name: 'declared',
      type: 'hash',
      keySize: key.length,
      valueSize: 8,
      maxEntries: 4,
    });
    own.set(key, new Uint8Array(BigUint64Array.of(3n).buffer));
    using metrics = new EbpfMetrics();
    metrics.addMap(own, {
      metrics: [metric('test_total')],
      labels: {
        byte: { at: 0, as: 'u8' },
        half: { at: 2, as: 'u16' },
        long: { at: 8, as: 'u64' },
        port: { at: 16, as: 'be16' },
        four: { at: 20, as: 'ipv4' },
        six: { at: 24, as: 'ipv6' },
        comm: { at: 40, as: 'comm' },
        call: { at: 56, as: 'syscall' },
        unknown: { at: 60, as: 'syscall' },
        mine: (bytes) => `${bytes.length} bytes`,
      },
    });
    const [series = '', value] = [...named(await scraped(metrics), 'test_total')][0] ?? [];
    const found = Object.fromEntries(
      [...series.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, word]) => [name, word]),
    );
    expect(value).toBe(3);
    expect(found).toMatchObject({
      byte: '200',
      half: '40000',
      long: '9223372036854775808',
      port: '443',
      four: '192.0.2.7',
      six: '2001:db8::1',
      comm: 'node',
      mine: '64 bytes',
    });
    if (process.arch === 'x64') expect(found.call).toBe('read');
    expect(found.unknown).toBe('4294967280');
  });

  it('two maps under one name are one metric: what has the same labels is added', async () => {
    using first = map(4);
    using second = map(4);
    set(first, 1, 1, 5n, 0n);
    set(second, 1, 1, 7n, 0n);
    set(second, 1, 9, 1n, 0n);
    using metrics = new EbpfMetrics();
    for (const own of [first, second]) metrics.addMap(own, { metrics: [metric('test_total')], labels });
    expect(Object.fromEntries(named(await scraped(metrics), 'test_total'))).toEqual({
      'test_total{interface="lo",state="OPEN"}': 12,
      'test_total{interface="lo",state="9"}': 1,
    });
  });

  it('no more series than there is room for: the others are counted', async () => {
    using own = map(100);
    for (let i = 0; i < 50; i++) set(own, 1, i, 1n, 0n);
    using metrics = new EbpfMetrics();
    metrics.addMap(own, { metrics: [metric('test_total')], labels, maxSeries: 20 });
    const samples = await scraped(metrics);
    expect(named(samples, 'test_total').size).toBe(20);
    expect(samples.get('ebpf_series_left_out_total{metric="test_total"}')).toBe(30);
  });

  it('hostile labels are escaped, and bad declarations refused', async () => {
    using own = map(4);
    set(own, 1, 1, 1n, 0n);
    using metrics = new EbpfMetrics();
    metrics.addMap(own, { metrics: [metric('test_total')], labels: { evil: () => 'a"b\\c\nd' } });
    expect(await metrics.scrape()).toContain('test_total{evil="a\\"b\\\\c\\nd"} 1\n');
    using other = map(4);
    const refused = (declaration: object, error: unknown) =>
      expect(() => metrics.addMap(other, declaration as never)).toThrow(error as never);
    refused({ metrics: [] }, TypeError);
    refused({ metrics: [metric('not a name')] }, TypeError);
    refused({ metrics: [metric('test_total', { type: 'histogram' })] }, TypeError);
    refused({ metrics: [metric('a_total', { scale: Number.NaN })] }, RangeError);
    refused({ metrics: [metric('a_total', { field: 9 })] }, RangeError);
    refused({ metrics: [metric('a_total', { field: 'none' })] }, EbpfMapError);
    refused({ metrics: [metric('a_total')], labels: { 'bad-name': { at: 0, as: 'u32' } } }, TypeError);
    refused({ metrics: [metric('a_total')], labels: { a: { at: 5, as: 'u32' } } }, RangeError);
    refused({ metrics: [metric('a_total')], labels: { a: { at: 0, as: 'u31' } } }, TypeError);
    refused({ metrics: [metric('a_total')], maxSeries: 0 }, RangeError);
    refused({ metrics: [metric('test_total')], labels: { other: { at: 0, as: 'u32' } } }, TypeError);
    expect(() => metrics.addMap(own, { metrics: [metric('b_total')] })).toThrow(TypeError);
    expect(() => metrics.add(own as never)).toThrow(TypeError);
  });

  it('a scrape reads a map of 10,000 entries by one system call, however many ask for it', async () => {
    const world = new World();
    try {
      const body = (scrapes: number) => `
        const { EbpfMetrics, metricsHandler } = await import(${JSON.stringify(new URL('../../../dist/metrics/index.js', import.meta.url).href)});
        const map = ebpf.BpfMap.create({ name: 'declared', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16384 });
        const keys = Uint32Array.from({ length: 10000 }, (_, i) => i);
        map.setBatch(new Uint8Array(keys.buffer), new Uint8Array(80000), 10000);
        const metrics = new EbpfMetrics();
        metrics.addMap(map, { metrics: [{ name: 'a_total', help: 'a', type: 'counter' }], labels: { k: { at: 0, as: 'u32' } }, maxSeries: 20000 });
        for (let i = 0; i < ${scrapes}; i++) await metrics.scrape();
        console.log((await metrics.scrape()).match(/^a_total/gm).length);`;
      const reads = async (scrapes: number) => {
        const { calls, stdout } = await world.bpfCalls(body(scrapes));
        expect(stdout).toBe('10000\n');
        return calls.filter((line) => line.includes('BPF_MAP_LOOKUP_BATCH')).length;
      };
      const [few, more] = [await reads(1), await reads(6)];
      expect(more - few).toBe(5);
    } finally {
      await world.close();
    }
  });
});

describe('handlers', () => {
  let server: http.Server;
  let metrics: EbpfMetrics;
  let port: number;
  beforeEach(async () => {
    metrics = new EbpfMetrics();
    const routes = {
      '/metrics': metricsHandler(metrics, { maxAgeMs: 100 }),
      '/health': healthHandler(metrics),
    };
    server = http.createServer((request, response) => {
      const handler = routes[request.url as keyof typeof routes];
      if (handler) handler(request, response);
      else response.writeHead(404).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    metrics.close();
  });
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init);

  it('metrics and health, by GET and HEAD alone', async () => {
    const answer = await get('/metrics');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(samplesOf(await answer.text()).get('ebpf_poll_duration_seconds_count')).toBe(1);
    const head = await get('/metrics', { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect((await get('/metrics', { method: 'POST' })).status).toBe(405);
    expect(await (await get('/health')).json()).toMatchObject({
      ebpf_loader: true,
      component: 'ebpf_loader',
    });
  });

  it('200 scrapers at once, some of which go away, share few looks', async () => {
    const start = performance.now();
    const gone = Array.from({ length: 50 }, () => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n');
        socket.destroy();
      });
      return once(socket, 'close');
    });
    const answers = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const answer = await get('/metrics');
        return [answer.status, (await answer.text()).includes('ebpf_health')];
      }),
    );
    await Promise.all(gone);
    expect(answers).toEqual(answers.map(() => [200, true]));
    const elapsed = performance.now() - start;
    const looks = samplesOf(await metrics.scrape()).get('ebpf_poll_duration_seconds_count') ?? 0;
    expect(looks).toBeLessThanOrEqual(elapsed / 100 + 2);
  });
});

it('goes into a registry of the application, and out of it again', async () => {
  const registry = new Registry();
  const metrics = new EbpfMetrics({ registry });
  expect(await registry.metrics()).toContain('ebpf_health');
  expect(() => new EbpfMetrics({ registry })).toThrow();
  metrics.close();
  expect(await registry.metrics()).not.toContain('ebpf_');
});

describe('examples', () => {
  const start = async (prefix: readonly string[], example = 'app.js') => {
    const path = fileURLToPath(new URL(`../../../examples/${example}`, import.meta.url));
    const [command = '', ...rest] = [...prefix, process.execPath, path, 'lo'];
    const child = spawn(command, rest, {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const end = async () => {
      child.kill('SIGTERM');
      return (await ended)[0] as number | null;
    };
    return { url: line.toString().trim(), end };
  };

  it.each(['express.js', 'fastify.js', 'koa.js'])('%s answers metrics and health', async (example) => {
    const app = await start([], example);
    try {
      const answer = await fetch(`${app.url}/metrics`);
      expect([answer.status, answer.headers.get('content-type')]).toEqual([
        200,
        'text/plain; version=0.0.4; charset=utf-8',
      ]);
      expect(samplesOf(await answer.text()).get('ebpf_health{component="ebpf_loader"}')).toBe(1);
      expect(await (await fetch(`${app.url}/health`)).json()).toMatchObject({ ebpf_loader: true });
      expect((await fetch(`${app.url}/other`)).status).toBe(404);
    } finally {
      await app.end();
    }
  });

  it('app.js starts without a capability, and /health says why eBPF is off', async () => {
    const app = await start(['setpriv', '--bounding-set=-all', '--inh-caps=-all']);
    try {
      const answer = await fetch(`${app.url}/health`);
      expect(answer.status).toBe(503);
      expect(await answer.json()).toMatchObject({
        ebpf_loader: false,
        status: 'unhealthy',
        message: expect.stringContaining('CAP_BPF'),
      });
      const samples = samplesOf(await (await fetch(`${app.url}/metrics`)).text());
      expect(samples.get('ebpf_health{component="ebpf_loader"}')).toBe(0);
      expect(await (await fetch(app.url)).text()).toBe('hello\n');
    } finally {
      expect(await app.end()).toBe(0);
    }
  });

  it('app.js says true where it is attached, and false at once when somebody detaches it', async () => {
    const netns = createNetns();
    try {
      netns.upLoopback();
      const inside = ['ip', 'netns', 'exec', netns.name];
      const app = await start(inside);
      const ask = (path: string): string =>
        execFileSync(
          'ip',
          [
            ...inside.slice(1),
            process.execPath,
            '-e',
            `fetch('${app.url}${path}').then(async (r) => console.log(r.status + ' ' + (await r.text())))`,
          ],
          { encoding: 'utf8' },
        );
      try {
        expect(ask('/health')).toMatch(/^200 .*"ebpf_loader":true/);
        expect(ask('/metrics')).toMatch(/ebpf_packets_total\{interface="lo",protocol="tcp"\} [1-9]/);
        const { programId } = xdpOf(netns, 'lo');
        const [link] = linksOf([programId ?? 0]);
        bpftool('link', 'detach', 'id', String(link));
        expect(xdpOf(netns, 'lo')).toEqual({});
        expect(ask('/health')).toMatch(/^503 .*"ebpf_loader":false/);
      } finally {
        expect(await app.end()).toBe(0);
      }
    } finally {
      netns.close();
    }
  });
});

describe('OpenTelemetry', () => {
  interface Exported {
    name: string;
    sum?: { dataPoints: Point[]; isMonotonic: boolean };
    gauge?: { dataPoints: Point[] };
  }
  interface Point {
    asDouble?: number;
    asInt?: number;
    attributes: { key: string; value: { stringValue: string } }[];
  }

  it('a real receiver gets the same numbers over OTLP', async () => {
    const received: Exported[] = [];
    const receiver = http.createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = JSON.parse(Buffer.concat(chunks).toString()) as {
        resourceMetrics: { scopeMetrics: { metrics: Exported[] }[] }[];
      };
      received.push(
        ...body.resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((one) => one.metrics)),
      );
      response.setHeader('content-type', 'application/json');
      response.end('{}');
    });
    receiver.listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const { port } = receiver.address() as AddressInfo;
    const exporter = new OTLPMetricExporter({ url: `http://127.0.0.1:${port}/v1/metrics` });
    const provider = new MeterProvider({
      readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
    });
    const map = BpfMap.create({ name: 'declared', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 4 });
    const metrics = new EbpfMetrics();
    const observing = observe(provider.getMeter('test'), metrics);
    try {
      // One that comes after observe() is observed too.
      map.set(7, new Uint8Array(BigUint64Array.of(42n).buffer));
      metrics.addMap(map, {
        metrics: [{ name: 'test_total', help: 'a test', type: 'counter' }],
        labels: { key: { at: 0, as: 'u32' } },
      });
      await provider.forceFlush();
      const byName = new Map(received.map((metric) => [metric.name, metric]));
      expect(byName.get('test_total')?.sum).toMatchObject({
        isMonotonic: true,
        dataPoints: [{ asDouble: 42, attributes: [{ key: 'key', value: { stringValue: '7' } }] }],
      });
      expect(byName.get('ebpf_health')?.gauge?.dataPoints).toMatchObject([{ asDouble: 1 }]);
      // One look for all of them: that of this collection.
      expect(byName.get('ebpf_poll_duration_seconds.count')?.sum?.dataPoints).toMatchObject([
        { asDouble: 1 },
      ]);
      observing[Symbol.dispose]();
      await provider.forceFlush();
      // The second look is this one's.
      expect((await scraped(metrics)).get('ebpf_poll_duration_seconds_count')).toBe(2);
    } finally {
      await provider.shutdown();
      metrics.close();
      map.close();
      receiver.closeAllConnections();
      receiver.close();
    }
  });
});
