import { afterAll, beforeAll, expect, test } from 'vitest';
import { EbpfLoader, loadObjectSync } from '../../lib/index.ts';
import { XdpCounter } from '../../lib/programs/index.ts';
import { caught, rejection } from '../helpers/caught.ts';
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

/** Runs `cycle` and compares descriptors and resident memory after the warm-up with those at the end. */
async function repeat(cycle: (count: number) => Promise<void> | void): Promise<void> {
  const resident = async () => {
    for (let i = 0; i < 5; i++) {
      globalThis.gc?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return process.memoryUsage.rss();
  };
  for (let i = 0; i < WARM_UP; i++) await cycle(i);
  const fds = fdCount();
  // The allocator's arenas come and go by megabytes; what leaks stays. So the least of a few readings counts.
  const readings = [await resident()];
  for (let i = 1; i <= CYCLES; i++) {
    await cycle(i);
    if (i % (CYCLES / 10) === 0) readings.push(await resident());
  }
  const grown = (Math.min(...readings.slice(-3)) - Math.min(...readings.slice(0, 3))) / MIB;
  console.log(`${CYCLES} cycles: ${fdCount() - fds} descriptors, ${grown.toFixed(1)} MiB resident`);
  expect(fdCount()).toBe(fds);
  // A sanitizer keeps freed memory in quarantine: there the leak check of its own says more.
  if (!process.env.NODE_EBPF_TEST_NODE) expect(Math.abs(grown)).toBeLessThan(5);
}

test(`${CYCLES} times load, attach, read, detach, unload leave nothing`, async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const programs = new Set<number>();
  const maps = new Set<number>();
  const links = new Set<number>();
  await using loader = new EbpfLoader();
  await repeat(async () => {
    const handle = await loader.loadProgram(shippedObject('xdp_counter'));
    const loaded = loader.getProgram(handle) ?? expect.unreachable();
    const map = loaded.object.map('packet_counters');
    const { link } = await loader.attachXdp(handle, at);
    programs.add(loaded.program.id);
    maps.add(map.id);
    links.add(link.id ?? -1);
    expect(map.get(0)).toHaveLength(map.slotSize);
    await loader.detachFromInterface(handle, at);
    await loader.unloadProgram(handle);
  });
  // Every cycle made its own: the ids are the kernel's, and none is used twice while we look.
  expect([programs.size, maps.size, links.size]).toEqual([
    CYCLES + WARM_UP,
    CYCLES + WARM_UP,
    CYCLES + WARM_UP,
  ]);
  await untilGone({ programs, maps, links });
  expect(xdpOf(netns, b.name)).toEqual({});
});

test(`${CYCLES} refused loads and attachments leave nothing`, async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  using holder = await XdpCounter.attach(at);
  await repeat(async (count) => {
    if (count % 10 === 0)
      expect(caught(() => loadObjectSync(testObject('refused')))).toMatchObject({ code: 'EACCES' });
    // Not expect().rejects: vitest keeps each of those promises, and with it the error, until the test ends.
    expect(await rejection(XdpCounter.attach(at))).toMatchObject({ code: 'EBUSY' });
  });
  expect(xdpOf(netns, b.name).programId).toBeDefined();
  expect(holder.link.state()).toBe('attached');
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
