import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { endChildren, LIBRARY, runModule } from '../helpers/child.ts';
import { LONG } from '../helpers/extent.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, untilGone, xdpOf } from '../helpers/kernel.ts';
import { createNetns, type Netns } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { seedOf, xorshift } from '../helpers/random.ts';
import { filtersOf, tcxOf } from '../helpers/tc.ts';

const WORKERS = LONG ? 500 : 200;
/** Memory is read after each batch; the first one warms up. */
const BATCH = 50;
/** At a time, each with a veth pair of its own: a hook that a dead one still held would be EBUSY to the next. */
const LANES = 4;
const MIB = 1024 * 1024;
/** A young generation of fixed size: it comes and goes by 16 MiB, and what leaks stays. */
const QUIET = ['--expose-gc', '--max-semi-space-size=1', '--min-semi-space-size=1'];

let before: Snapshot;
let netns: Netns;
beforeAll(() => {
  before = snapshotIds();
  netns = createNetns();
});
afterEach(endChildren);
afterAll(async () => {
  netns.close();
  await assertNothingLeft(before);
});

/** What a worker is doing, in the order of its cycle. It is terminated some moments after it said one of these. */
const PHASES = [
  'started',
  'imported',
  'loading',
  'loaded',
  'xdp link',
  'xdp netlink',
  'tcx',
  'clsact',
  'tracepoint',
  'reading',
  'detaching',
  'closing',
] as const;

/** Endless; `at` says a phase, `keep` an id that the kernel gave, into memory that outlives the worker. */
const CYCLE = `
  import { parentPort, workerData } from 'node:worker_threads';
  const { library, objects, a, b, ids } = workerData;
  const keep = (kind, id) => { Atomics.store(ids, 1 + (Atomics.add(ids, 0, 1) % (ids.length - 1)), id * 4 + kind); };
  const at = (phase) => parentPort.postMessage(phase);
  (async () => {
    at('started');
    const ebpf = await import(library);
    at('imported');
    for (;;) {
      at('loading');
      const loading = objects.map((path) => ebpf.loadObject(path));
      const loaded = await Promise.all(loading);
      const [xdp, tc, traced] = loaded;
      for (const object of loaded) {
        for (const program of Object.values(object.programs)) keep(0, program.id);
        for (const map of Object.values(object.maps)) keep(1, map.id);
      }
      at('loaded');
      const links = [];
      const attached = (link) => { if (link.id !== undefined) keep(2, link.id); links.push(link); };
      at('xdp link');
      attached(xdp.program('xdp_counter').attachXdp(b));
      at('xdp netlink');
      attached(xdp.program('xdp_counter').attachXdp({ ...a, via: 'netlink' }));
      at('tcx');
      attached(tc.program('tc_count').attachTc({ ...b, direction: 'ingress', via: 'tcx' }));
      at('clsact');
      attached(tc.program('tc_count').attachTc({ ...b, direction: 'egress', via: 'clsact', removeQdisc: true }));
      at('tracepoint');
      attached(traced.program('raw_enter').attach());
      at('reading');
      const map = xdp.map('packet_counters');
      for (let i = 0; i < 20; i++) if (map.get(i % 4).length !== map.slotSize) throw new Error('no value');
      await new Promise((resolve) => setImmediate(resolve));
      at('detaching');
      for (const link of links) link.detach();
      at('closing');
      for (const object of loaded) object.close();
    }
  })();`;

/**
 * Bytes that stay, of every mapping but node's executable: when code of it runs first, its pages come by megabytes, be it after
 * ten workers or after forty (seen in smaps without the addon: 3.2 MiB between two readings), and take no memory of the process.
 */
const RESIDENT = `
    const { readFileSync } = await import('node:fs');
    const resident = async () => {
      for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setImmediate(resolve)); }
      let bytes = 0, counts = true;
      for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\\n')) {
        if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) counts = !line.endsWith(' ' + process.execPath);
        else if (counts && line.startsWith('Rss:')) bytes += 1024 * Number.parseInt(line.slice(4));
      }
      return bytes;
    };`;

interface Report {
  errors: string[];
  terminatedIn: Record<string, number>;
  /** Descriptors more than after the first workers, and all that are of BPF or a namespace. */
  fds: number;
  left: string[];
  /** Resident bytes after each batch. */
  readings: number[];
  programs: number[];
  maps: number[];
  links: number[];
}

test(`${WORKERS} workers that are terminated at random moments leave nothing`, async () => {
  const random = xorshift(seedOf('workers'));
  // A moment: a phase of this cycle, and up to 5 ms after it.
  const moments = Array.from({ length: WORKERS }, () => {
    const phase = random(PHASES.length);
    return {
      phase: PHASES[phase],
      cycle: phase < PHASES.indexOf('loading') || random(4) > 0 ? 1 : 2,
      delay: random(2) === 0 ? 0 : random(5000) / 1000,
    };
  });
  const lanes = Array.from({ length: LANES }, () => netns.addVeth());
  const child = runModule(
    `
    const { readdirSync, readlinkSync } = await import('node:fs');
    ${RESIDENT}
    const { Worker } = await import('node:worker_threads');
    const { setTimeout: sleep } = await import('node:timers/promises');
    const moments = ${JSON.stringify(moments)};
    const lanes = ${JSON.stringify(lanes.map(({ a, b }) => ({ a: { iface: a.name, netns: netns.path }, b: { iface: b.name, netns: netns.path } })))};
    const objects = ${JSON.stringify([shippedObject('xdp_counter'), testObject('tc_count'), testObject('traced')])};
    // Without the modules that a worker was importing: Node reads them by node:fs/promises, which leaves the file of a
    // worker that is terminated meanwhile open.
    const links = () => readdirSync('/proc/self/fd').map((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; }
    }).filter((link) => !/[.]m?js$/.test(link));
    const errors = [], terminatedIn = {};
    const kept = [new Set(), new Set(), new Set()];
    async function one({ phase, cycle, delay }, { a, b }) {
      const ids = new Int32Array(new SharedArrayBuffer(4 * 4096));
      const worker = new Worker(${JSON.stringify(CYCLE)}, {
        eval: true,
        workerData: { library: ${JSON.stringify(new URL('index.js', LIBRARY).href)}, objects, a, b, ids },
      });
      let last = 'created', seen = 0;
      await new Promise((resolve) => {
        worker.on('message', (now) => { last = now; if (now === phase && ++seen === cycle) resolve(); });
        // Nothing ends a worker but us.
        worker.on('error', (error) => { errors.push(last + ': ' + error.stack); resolve(); });
        worker.on('exit', resolve);
      });
      if (delay > 0) await sleep(delay);
      await worker.terminate();
      terminatedIn[last] = (terminatedIn[last] ?? 0) + 1;
      const count = Math.min(Atomics.load(ids, 0), ids.length - 1);
      for (const id of ids.subarray(1, 1 + count)) kept[id % 4].add(Math.floor(id / 4));
    }
    const batch = async (from, to) => {
      let next = from;
      await Promise.all(lanes.map(async (lane) => { while (next < to) await one(moments[next++], lane); }));
    };
    // The loop's and the pool's own descriptors and memory come with the first workers.
    await batch(0, ${BATCH});
    const before = links().length;
    const readings = [await resident()];
    for (let i = ${BATCH}; i < moments.length; i += ${BATCH}) {
      await batch(i, i + ${BATCH});
      readings.push(await resident());
    }
    const after = links();
    // An object file that was being read is one of them.
    const left = after.filter((link) => /bpf|^net:/.test(link));
    const [p, m, l] = kept.map((set) => [...set]);
    console.log(JSON.stringify({ errors, terminatedIn, fds: after.length - before, left, readings, programs: p, maps: m, links: l }));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.exit(0);`,
    {
      prefix: ['env', 'MALLOC_ARENA_MAX=1'],
      node: QUIET,
    },
  );
  const report = JSON.parse(await child.line()) as Report;
  const { readings, programs, maps, links } = report;
  const grown = (Math.min(...readings.slice(-3)) - Math.min(...readings.slice(0, 3))) / MIB;
  console.log(
    `${programs.length} programs, ${maps.length} maps, ${links.length} links; ${grown.toFixed(1)} MiB resident`,
    readings.map((bytes) => Math.round(bytes / MIB)).join(' '),
    report.terminatedIn,
  );
  // The process of the workers is still there: its end takes nothing along that they left.
  expect(report.errors.slice(0, 3)).toEqual([]);
  expect({ fds: report.fds, left: report.left }).toEqual({ fds: 0, left: [] });
  await untilGone({ programs, maps, links });
  for (const { a, b } of lanes) {
    expect([xdpOf(netns, a.name), xdpOf(netns, b.name)]).toEqual([{}, {}]);
    expect([tcxOf(netns, b, 'ingress'), filtersOf(netns, b.name, 'egress')]).toEqual([[], []]);
  }
  // A sanitizer keeps freed memory in quarantine: there the leak check of its own says more.
  if (!process.env.NODE_EBPF_TEST_NODE) expect(grown).toBeLessThan(10);
  child.process.stdin?.write('\n');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

test('workers that come one after another, and alone use the addon, take no more memory each', async () => {
  const child = runModule(
    `
    ${RESIDENT}
    const { Worker } = await import('node:worker_threads');
    const source = "import { parentPort } from 'node:worker_threads';"
      + "const ebpf = await import(${JSON.stringify(new URL('index.js', LIBRARY).href).replaceAll('"', "'")});"
      + "ebpf.BpfLink.list(); parentPort.postMessage('listed'); setInterval(() => {}, 1000);";
    const readings = [];
    for (let i = 0; i < 10; i++) {
      for (let j = 0; j < 12; j++) {
        const worker = new Worker(source, { eval: true });
        await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
        await worker.terminate();
      }
      readings.push(await resident());
    }
    console.log(JSON.stringify(readings));`,
    { prefix: ['env', 'MALLOC_ARENA_MAX=1'], node: QUIET },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  const readings = JSON.parse(stdout) as number[];
  const grown = (Math.min(...readings.slice(-3)) - Math.min(...readings.slice(0, 3))) / MIB;
  console.log(
    `120 workers: ${grown.toFixed(1)} MiB resident`,
    readings.map((bytes) => (bytes / MIB).toFixed(1)).join(' '),
  );
  if (!process.env.NODE_EBPF_TEST_NODE) expect(grown).toBeLessThan(3);
});
