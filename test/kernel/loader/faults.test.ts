// What happens to an attachment behind our back. Each is a state or a typed error, and nothing is left.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { BpfLink } from '../../../lib/link/link.ts';
import { EbpfLoader } from '../../../lib/loader/loader.ts';
import { type BpfObject, loadObject, loadObjectSync } from '../../../lib/object/object.ts';
import type { BpfProgram } from '../../../lib/program/program.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { type Child, endChildren, runModule } from '../../helpers/child.ts';
import {
  assertNothingLeft,
  fdCount,
  programExists,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { filtersOf, tcxOf } from '../../helpers/tc.ts';

let before: Snapshot;
let netns: Netns;
let veth: Veth;
let objects: BpfObject[];
let loader: EbpfLoader;
let warnings: string[];

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  netns = createNetns();
  veth = netns.addVeth();
  objects = [];
  loader = new EbpfLoader();
  warnings = [];
  loader.on('warning', (message) => warnings.push(message));
});
afterEach(async () => {
  endChildren();
  await loader.close();
  for (const object of objects) object.close();
  netns.close();
});
afterAll(() => assertNothingLeft(before));

const at = () => ({ iface: veth.b.name, netns: netns.path });
function program(name: string): BpfProgram {
  const object = loadObjectSync(testObject(name));
  objects.push(object);
  return object.program(name);
}

interface Way {
  readonly name: string;
  readonly object: string;
  readonly attach: (program: BpfProgram) => BpfLink;
  readonly attachLoader: (handle: string) => Promise<unknown>;
  /** The programs that the kernel has there. */
  readonly there: (ns?: Netns, iface?: string) => (number | undefined)[];
}

const xdp = (via: 'link' | 'netlink'): Way => ({
  name: `XDP by ${via}`,
  object: 'pass',
  attach: (of) => of.attachXdp({ ...at(), via }),
  attachLoader: (handle) => loader.attachXdp(handle, { ...at(), via }),
  there: (ns = netns, iface = veth.b.name) => [xdpOf(ns, iface).programId].filter((id) => id !== undefined),
});
const tc = (via: 'tcx' | 'clsact'): Way => ({
  name: `TC by ${via}`,
  object: 'tc_count',
  attach: (of) => of.attachTc({ ...at(), direction: 'ingress', via }),
  attachLoader: (handle) => loader.attachTc(handle, { ...at(), direction: 'ingress', via }),
  there: (ns = netns, iface = veth.b.name) =>
    via === 'tcx'
      ? tcxOf(ns, ns.interface(iface), 'ingress').map(({ programId }) => programId)
      : filtersOf(ns, iface, 'ingress').map(({ programId }) => programId),
});
const WAYS = [xdp('link'), xdp('netlink'), tc('tcx'), tc('clsact')];

describe.each(WAYS)('$name', (way) => {
  const byNetlink = way.name === 'XDP by netlink' || way.name === 'TC by clsact';

  test('an interface that is removed', async () => {
    const fds = fdCount();
    const mine = program(way.object);
    const link = way.attach(mine);
    netns.ip('link', 'delete', veth.a.name);
    expect(link.state()).toBe('detached');
    // A link outlives its interface and is ours to end; of the rest nothing is left to take off.
    const detach = () => link.detach();
    const code = way.name === 'TC by clsact' ? 'ENOENT' : 'ENODEV';
    if (byNetlink) expect(caught(detach)).toMatchObject({ name: 'EbpfAttachError', code });
    else detach();
    link.close();
    objects.pop()?.close();
    await untilGone({ programs: [mine.id] });
    expect(fdCount()).toBe(fds);
  });

  test('an interface that is renamed', async () => {
    const mine = program(way.object);
    const link = way.attach(mine);
    netns.ip('link', 'set', 'dev', veth.b.name, 'down');
    netns.ip('link', 'set', 'dev', veth.b.name, 'name', 'renamed');
    netns.ip('link', 'set', 'dev', 'renamed', 'up');
    expect(link.state()).toBe('attached');
    expect(way.there(netns, 'renamed')).toEqual([mine.id]);
    link.detach();
    expect(way.there(netns, 'renamed')).toEqual([]);
  });

  test('an interface that is renamed, by the loader: its old name and its ifindex', async () => {
    const handle = await loader.loadProgram(testObject(way.object));
    for (const iface of [veth.b.name, veth.b.ifindex]) {
      await way.attachLoader(handle);
      netns.ip('link', 'set', 'dev', veth.b.name, 'name', 'renamed');
      expect(await loader.detachFromInterface(handle, { iface, netns: netns.path })).toBe(true);
      expect(way.there(netns, 'renamed')).toEqual([]);
      netns.ip('link', 'set', 'dev', 'renamed', 'name', veth.b.name);
    }
    expect(warnings).toEqual([]);
    expect(loader.getProgram(handle)?.state).toBe('loaded');
  });

  // lib/loader/attachment.ts compares the name that was recorded with the one that is given, and asks no ifindex.
  test('an interface that is renamed, by the loader: its new name', async () => {
    const handle = await loader.loadProgram(testObject(way.object));
    await way.attachLoader(handle);
    netns.ip('link', 'set', 'dev', veth.b.name, 'name', 'renamed');
    expect(await loader.detachFromInterface(handle, { iface: 'renamed', netns: netns.path })).toBe(true);
  });

  test('an interface that takes the name of one that was renamed is not meant', async () => {
    const handle = await loader.loadProgram(testObject(way.object));
    await way.attachLoader(handle);
    const { id } = loader.getProgram(handle)?.program ?? expect.unreachable();
    netns.ip('link', 'set', 'dev', veth.b.name, 'name', 'renamed');
    netns.ip('link', 'add', veth.b.name, 'type', 'veth', 'peer', 'name', 'peer');
    await loader.detachFromInterface(handle, at());
    expect(way.there(netns, 'renamed')).toEqual([id]);
  });

  test('an interface that is moved to another namespace', async () => {
    using other = createNetns();
    const mine = program(way.object);
    const link = way.attach(mine);
    netns.ip('link', 'set', 'dev', veth.b.name, 'netns', other.name);
    // The move takes the qdisc away with its filters. XDP and TCX move along: a link is found by its descriptor, wherever
    // it is; netlink is asked in the namespace that was named, where nothing is any more.
    expect(link.state()).toBe(byNetlink ? 'detached' : 'attached');
    expect(way.there(other)).toEqual(way.name === 'TC by clsact' ? [] : [mine.id]);
    if (byNetlink) expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfAttachError' });
    else link.detach();
    link.close();
    expect(way.there(other)).toEqual(way.name === 'XDP by netlink' ? [mine.id] : []);
  });

  // test/kernel/attach/tc.test.ts has it of clsact's filters.
  if (way.name === 'TC by clsact') return;

  test('another process that puts its program in the place', async () => {
    const handle = await loader.loadProgram(testObject(way.object));
    const { link } = (await way.attachLoader(handle)) as { link: BpfLink };
    const ours = loader.getProgram(handle)?.program.id ?? 0;
    const child = runModule(`
      const object = ebpf.loadObjectSync(${JSON.stringify(testObject(way.object))});
      const program = object.program(${JSON.stringify(way.object)});
      ${
        byNetlink
          ? `program.attachXdp({ ...${JSON.stringify(at())}, replace: { programId: ${ours} } });`
          : `const link = ebpf.BpfLink.fromId(${link.id}); link.update(program); link.close();`
      }
      console.log(program.id);
      process.stdin.resume();`);
    const theirs = Number(await child.line());
    expect(way.there()).toEqual([theirs]);
    expect(link.state()).toBe('replaced');
    const replaced = { name: 'EbpfAttachError', code: 'ERR_EBPF_REPLACED', holder: { programId: theirs } };
    expect(await rejection(loader.detachFromInterface(handle, at()))).toMatchObject(replaced);
    expect(await rejection(loader.unloadProgram(handle, { force: true }))).toMatchObject(replaced);
    expect(way.there()).toEqual([theirs]);
    child.process.stdin?.end();
    expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
    // A link is ours still, whatever is in it; theirs by netlink went with their process.
    expect(way.there()).toEqual(byNetlink ? [] : [theirs]);
    expect(link.state()).toBe(byNetlink ? 'detached' : 'replaced');
  });
});

test('ip link set … xdp off: refused for a link, and netlink is detached from outside', async () => {
  const handle = await loader.loadProgram(testObject('pass'));
  const off = () => netns.ip('link', 'set', 'dev', veth.b.name, 'xdp', 'off');
  const byLink = await loader.attachXdp(handle, at());
  expect(off).toThrow(/Can't replace active BPF XDP link/);
  expect(byLink.link.state()).toBe('attached');
  expect(xdpOf(netns, veth.b.name).programId).toBe(loader.getProgram(handle)?.program.id);
  await loader.detachFromInterface(handle, at());

  const byNetlink = await loader.attachXdp(handle, { ...at(), via: 'netlink' });
  off();
  expect(byNetlink.link.state()).toBe('detached');
  expect(caught(() => byNetlink.link.detach())).toMatchObject({ name: 'EbpfAttachError' });
  expect(await loader.detachFromInterface(handle, at())).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('from outside')]);
  expect(await loader.unloadProgram(handle)).toBe(true);
});

/** A process with a loader that attaches at each line `link` or `netlink`, says what came of it, and detaches at `off`. */
function racer(): Child {
  return runModule(`
    const { createInterface } = await import('node:readline');
    const at = ${JSON.stringify(at())};
    const loader = new ebpf.EbpfLoader();
    const handle = await loader.loadProgram(${JSON.stringify(testObject('pass'))});
    const { id } = loader.getProgram(handle).program;
    console.log(JSON.stringify({ id }));
    for await (const line of createInterface({ input: process.stdin })) {
      if (line === 'off') { console.log(JSON.stringify({ off: await loader.detachFromInterface(handle, at) })); continue; }
      try { await loader.attachXdp(handle, { ...at, via: line }); console.log(JSON.stringify({ won: id })); }
      catch ({ name, code, holder }) { console.log(JSON.stringify({ name, code, holder })); }
    }
    await loader.close();`);
}

test('of two processes that attach at once, one wins 50 times, and the other is told who', async () => {
  const racers = [racer(), racer()];
  const tell = (child: Child | undefined, line: string) => child?.process.stdin?.write(`${line}\n`);
  const answers = async () =>
    Promise.all(racers.map(async (child) => JSON.parse(await child.line()) as Record<string, unknown>));
  const ids = (await answers()).map(({ id }) => id);
  const wins = [0, 0];
  for (let round = 0; round < 50; round++) {
    const order = round % 2 === 0 ? racers : [...racers].reverse();
    for (const child of order) tell(child, round % 4 < 2 ? 'link' : 'netlink');
    const said = await answers();
    const winner = said.findIndex(({ won }) => won !== undefined);
    const loser = said[1 - winner];
    expect(said.filter(({ won }) => won !== undefined)).toHaveLength(1);
    expect(xdpOf(netns, veth.b.name).programId).toBe(ids[winner]);
    expect(loser).toMatchObject({
      name: 'EbpfAttachError',
      code: 'EBUSY',
      holder: { programId: ids[winner], name: 'pass' },
    });
    wins[winner] = (wins[winner] ?? 0) + 1;
    tell(racers[winner], 'off');
    expect(JSON.parse((await racers[winner]?.line()) ?? '')).toEqual({ off: true });
    expect(xdpOf(netns, veth.b.name)).toEqual({});
  }
  console.log('wins', wins);
  for (const child of racers) child.process.stdin?.end();
  for (const child of racers) expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
  await untilGone({ programs: ids as number[] });
});

test('a load that is aborted at any moment gives the reason, or is whole', async () => {
  const reason = new Error('enough');
  const fds = fdCount();
  const loaded: number[] = [];
  let aborted = 0;
  const source = shippedObject('xdp_counter');
  const turns = async (count: number) => {
    for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  for (let moment = 0; moment < 60; moment++) {
    const controller = new AbortController();
    const { signal } = controller;
    const load =
      moment % 2 === 0
        ? loadObject(source, { signal }).then((object) => {
            loaded.push(object.program('xdp_counter').id);
            object.close();
          })
        : loader.loadProgram(source, 'xdp', { signal }).then(async (handle) => {
            loaded.push(loader.getProgram(handle)?.program.id ?? 0);
            await loader.unloadProgram(handle);
          });
    const ended = load.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (moment > 1) await turns(Math.floor(moment / 2) - 1);
    controller.abort(reason);
    const error = await ended;
    if (error !== undefined) {
      aborted++;
      expect(error).toBe(reason);
    }
  }
  expect(aborted).toBeGreaterThan(0);
  expect(loader.listLoadedPrograms()).toEqual([]);
  expect(fdCount()).toBe(fds);
  await untilGone({ programs: loaded });

  // After it, a signal means nothing.
  const controller = new AbortController();
  const handle = await loader.loadProgram(source, 'xdp', { signal: controller.signal });
  controller.abort(reason);
  const id = loader.getProgram(handle)?.program.id ?? 0;
  expect(programExists(id)).toBe(true);
  await loader.attachXdp(handle, at());
  expect(xdpOf(netns, veth.b.name).programId).toBe(id);
});
