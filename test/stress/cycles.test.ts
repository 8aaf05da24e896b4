import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadObjectSync } from '../../lib/object/object.ts';
import { XdpCounter } from '../../lib/programs/xdp-counter.ts';
import { endChildren, runModule } from '../helpers/child.ts';
import {
  assertNothingLeft,
  fdCount,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../helpers/kernel.ts';
import { createNetns, type Netns } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { filtersOf, qdiscOf } from '../helpers/tc.ts';

const CYCLES = 1000;
const WARM_UP = 100;
const MIB = 1024 * 1024;

let before: Snapshot;
let netns: Netns;
beforeAll(() => {
  before = snapshotIds();
  netns = createNetns();
});
afterAll(async () => {
  endChildren();
  netns.close();
  await assertNothingLeft(before);
});

interface Report {
  fds: number;
  /** Resident bytes: after the warm-up, then ten times on the way. */
  readings: number[];
  programs: number[];
  maps: number[];
  links: number[];
}

/**
 * Runs `cycle` a hundred times to warm up and then CYCLES times, in a process of its own with one allocator arena
 * and a young generation of fixed size: those come and go by megabytes, and what leaks stays.
 */
async function repeat(setUp: string, cycle: string): Promise<Report> {
  const child = runModule(
    `
    const { readdirSync } = await import('node:fs');
    const fds = () => readdirSync('/proc/self/fd').length;
    const resident = async () => {
      for (let i = 0; i < 5; i++) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return process.memoryUsage.rss();
    };
    const programs_ = [], maps = [], links = [];
    ${setUp}
    const cycle = async (count) => { ${cycle} };
    for (let i = 0; i < ${WARM_UP}; i++) await cycle(i);
    const before = fds();
    const readings = [await resident()];
    for (let i = 1; i <= ${CYCLES}; i++) {
      await cycle(i);
      if (i % ${CYCLES / 10} === 0) readings.push(await resident());
    }
    console.log(JSON.stringify({ fds: fds() - before, readings, programs: programs_, maps, links }));`,
    {
      prefix: ['env', 'MALLOC_ARENA_MAX=1'],
      node: ['--expose-gc', '--max-semi-space-size=1', '--min-semi-space-size=1'],
    },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  const report = JSON.parse(stdout) as Report;
  const grown = (Math.min(...report.readings.slice(-3)) - Math.min(...report.readings.slice(0, 3))) / MIB;
  console.log(`${CYCLES} cycles: ${report.fds} descriptors, ${grown.toFixed(1)} MiB resident`);
  expect(report.fds).toBe(0);
  // A sanitizer keeps freed memory in quarantine: there the leak check of its own says more.
  if (!process.env.NODE_EBPF_TEST_NODE) expect(Math.abs(grown)).toBeLessThan(5);
  return report;
}

test.concurrent(`${CYCLES} times load, attach, read, detach, unload leave nothing`, async () => {
  const { b } = netns.addVeth();
  const at = JSON.stringify({ iface: b.name, netns: netns.path });
  const { programs, maps, links } = await repeat(
    'const loader = new ebpf.EbpfLoader();',
    `const handle = await loader.loadProgram(${JSON.stringify(shippedObject('xdp_counter'))});
     const { program, object } = loader.getProgram(handle);
     const map = object.map('packet_counters');
     const { link } = await loader.attachXdp(handle, ${at});
     programs_.push(program.id); maps.push(map.id); links.push(link.id);
     if (map.get(0).length !== map.slotSize) throw new Error('no value');
     await loader.detachFromInterface(handle, ${at});
     await loader.unloadProgram(handle);`,
  );
  // Every cycle made its own: the ids are the kernel's.
  const all = CYCLES + WARM_UP;
  expect([new Set(programs).size, new Set(maps).size, new Set(links).size]).toEqual([all, all, all]);
  await untilGone({ programs, maps, links });
  expect(xdpOf(netns, b.name)).toEqual({});
});

test.concurrent.each(['tcx', 'clsact'])(
  `${CYCLES} times load, attach by %s, detach, unload leave nothing`,
  async (via) => {
    const { b } = netns.addVeth();
    const at = JSON.stringify({
      iface: b.name,
      netns: netns.path,
      direction: 'ingress',
      via,
      removeQdisc: true,
    });
    const { programs, maps, links } = await repeat(
      'const loader = new ebpf.EbpfLoader();',
      `const handle = await loader.loadProgram(${JSON.stringify(testObject('tc_count'))});
     const { program, object } = loader.getProgram(handle);
     const { link } = await loader.attachTc(handle, ${at});
     programs_.push(program.id); maps.push(object.map('tc_frames').id);
     if (link.id !== undefined) links.push(link.id);
     await loader.detachFromInterface(handle, ${at});
     await loader.unloadProgram(handle);`,
    );
    const all = CYCLES + WARM_UP;
    expect([new Set(programs).size, new Set(maps).size]).toEqual([all, all]);
    await untilGone({ programs, maps, links });
    expect([filtersOf(netns, b.name, 'ingress'), qdiscOf(netns, b.name)]).toEqual([[], undefined]);
  },
);

test.concurrent(`${CYCLES} refused loads and attachments leave nothing`, async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  using holder = await XdpCounter.attach(at);
  await repeat(
    `const refused = async (promise, code) => {
       try { await promise; } catch (error) { if (error.code === code) return; throw error; }
       throw new Error('not refused');
     };`,
    `await refused(ebpf.loadObject(${JSON.stringify(testObject('refused'))}), 'EACCES');
     await refused(programs.XdpCounter.attach(${JSON.stringify(at)}), 'EBUSY');`,
  );
  expect(holder.link.state()).toBe('attached');
  expect(xdpOf(netns, b.name).mode).toBe('drv');
});

test('handles that are forgotten are closed by the collector', async () => {
  if (!globalThis.gc) throw new Error('run with --expose-gc: vitest.config.ts passes it');
  const programs = new Set<number>();
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  const fds = fdCount();
  for (let i = 0; i < 20; i++) {
    (() => programs.add(loadObjectSync(shippedObject('xdp_counter')).program('xdp_counter').id))();
  }
  const deadline = Date.now() + 20_000;
  while (fdCount() > fds && Date.now() < deadline) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  process.off('warning', listen);
  expect(fdCount()).toBe(fds);
  await untilGone({ programs });
  expect(
    warnings.filter(({ message }) => /xdp_counter was garbage-collected without close/.test(message)).length,
  ).toBeGreaterThan(0);
});

test('an attached link is never collected', async () => {
  const { b } = netns.addVeth();
  const child = runModule(
    `
    (() => {
      const program = ebpf.loadObjectSync(${JSON.stringify(shippedObject('xdp_counter'))}).program('xdp_counter');
      program.attachXdp(${JSON.stringify({ iface: b.name, netns: netns.path })});
      console.log(program.id);
    })();
    for (let i = 0; i < 20; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log('collected');
    process.stdin.resume();`,
    { node: ['--expose-gc'] },
  );
  const id = Number(await child.line());
  expect(await child.line()).toBe('collected');
  expect(xdpOf(netns, b.name)).toEqual({ mode: 'drv', programId: id });
  child.process.stdin?.end();
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
  await untilGone({ programs: [id] });
});
