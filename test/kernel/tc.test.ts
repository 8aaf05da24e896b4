import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  type BpfObject,
  type BpfProgram,
  EbpfLoader,
  loadObject,
  loadObjectSync,
  ProgramType,
  TcLink,
  type TcOptions,
} from '../../lib/index.ts';
import { caught, rejection } from '../helpers/caught.ts';
import { type Child, endChildren, runModule } from '../helpers/child.ts';
import { udp4 } from '../helpers/frames.ts';
import {
  assertNothingLeft,
  programExists,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../helpers/netns.ts';
import { testObject } from '../helpers/objects.ts';
import { sendFrames } from '../helpers/send.ts';
import {
  addForeignFilters,
  countedBy,
  type Direction,
  type Filter,
  filtersOf,
  qdiscOf,
  replaceFilter,
  tcxOf,
} from '../helpers/tc.ts';

const BUILT_HERE = '../../build/Release/node_ebpf.node';

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

/** A program of its own, with its own map, at every call. */
function program(name = 'tc_count'): BpfProgram {
  const object = loadObjectSync(testObject(name));
  objects.push(object);
  return object.program(name);
}

const at = () => ({ iface: veth.b.name, netns: netns.path });
const ingress = (options: Partial<TcOptions> = {}) => ({
  ...at(),
  direction: 'ingress' as const,
  ...options,
});
const filters = (direction: Direction = 'ingress') => filtersOf(netns, veth.b.name, direction);
const tcx = (direction: Direction = 'ingress') => tcxOf(netns, veth.b, direction);
const qdisc = () => qdiscOf(netns, veth.b.name);
const foreign = (ours: number) => filters().filter(({ programId }) => programId !== ours);
const send = (count: number) =>
  sendFrames([{ frame: udp4(), count }], { netns, iface: veth.a.name, receiver: veth.b.name });
const hex = (handle: number | undefined) => `0x${handle?.toString(16)}`;
/** Our program on the ingress of v0b, whichever way it got there. */
const attachedIds = () => [...tcx(), ...filters()].map(({ programId }) => programId);

test.each([
  ['ingress', 'tcx'],
  ['egress', 'tcx'],
  ['ingress', 'clsact'],
  ['egress', 'clsact'],
] as const)('%s by %s sees every packet, and close ends it', async (direction, via) => {
  // What is sent on a goes out of a and comes in on b.
  const end = direction === 'ingress' ? veth.b : veth.a;
  const other = direction === 'ingress' ? 'egress' : 'ingress';
  const counter = program();
  const link = counter.attachTc({ iface: end.ifindex, netns: netns.path, direction, via });
  expect(link).toBeInstanceOf(TcLink);
  expect(link).toMatchObject({ kind: via, via, direction, ifindex: end.ifindex });
  expect(link.state()).toBe('attached');
  if (via === 'tcx') {
    expect(tcxOf(netns, end, direction)).toEqual([{ programId: counter.id, linkId: link.id }]);
    expect(link.owner).toBe('fd');
    expect([link.priority, link.handle]).toEqual([undefined, undefined]);
    expect(qdiscOf(netns, end.name)).toBeUndefined();
  } else {
    expect(filtersOf(netns, end.name, direction)).toEqual([
      { kind: 'bpf', priority: link.priority, handle: hex(link.handle), programId: counter.id },
    ]);
    expect(link.owner).toBe('netlink');
    expect(link.id).toBeUndefined();
  }
  expect(filtersOf(netns, end.name, other)).toEqual([]);
  expect(tcxOf(netns, end, other)).toEqual([]);
  await send(500);
  expect(countedBy(counter.id)).toBe(500);

  link.close();
  link.close();
  expect(tcxOf(netns, end, direction)).toEqual([]);
  expect(filtersOf(netns, end.name, direction)).toEqual([]);
  expect(caught(() => link.state())).toMatchObject({ name: 'EbpfStateError', state: 'closed' });
  await send(10);
  expect(countedBy(counter.id)).toBe(500);
});

test('auto takes TCX, and clsact where a priority or handle is named', () => {
  const counter = program();
  using first = counter.attachTc(ingress());
  using second = counter.attachTc(ingress({ priority: 7 }));
  using third = counter.attachTc(ingress({ handle: 0xffff_ffff }));
  expect([first.via, second.via, third.via]).toEqual(['tcx', 'clsact', 'clsact']);
  expect(filters().map(({ priority, handle }) => [priority, handle])).toEqual([
    [7, hex(second.handle)],
    [third.priority, '0xffffffff'],
  ]);
});

test.each([
  [{ direction: 'both' as 'ingress' }, TypeError, /ingress or egress for direction but received both/],
  [{ via: 'netlink' as 'tcx' }, TypeError, /auto, tcx or clsact for via/],
  [{ priority: 0 }, RangeError, /from 1 to 65535 for priority but received 0/],
  [{ priority: 65_536 }, RangeError, /for priority/],
  [{ handle: 1.5 }, RangeError, /for handle/],
  [{ via: 'tcx', priority: 5 }, TypeError, /priority and handle are for clsact/],
  [{ order: 'first', handle: 5 }, TypeError, /priority and handle are for clsact/],
  [{ order: 'first', via: 'clsact' }, TypeError, /order is for TCX/],
  [{ order: { before: { programId: 0 } } }, RangeError, /for order.before/],
] as const)('%o is refused before anything is attached', (options, type, message) => {
  const counter = program();
  const error = caught(() => counter.attachTc(ingress(options)));
  expect(error).toBeInstanceOf(type);
  expect((error as Error).message).toMatch(message);
  expect([tcx(), qdisc()]).toEqual([[], undefined]);
});

test('a program of another type, a closed one and an unknown interface', () => {
  const pass = program('pass');
  expect(caught(() => pass.attachTc(ingress()))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_PROGRAM_TYPE',
    message: expect.stringContaining('xdp program, not sched_cls'),
  });
  const counter = program();
  expect(caught(() => counter.attachTc({ ...ingress(), iface: 'v0c' }))).toMatchObject({
    code: 'ERR_EBPF_NO_INTERFACE',
    hint: expect.stringContaining('v0b'),
  });
  counter.close();
  expect(caught(() => counter.attachTc(ingress()))).toMatchObject({ name: 'EbpfStateError' });
  // The qdisc that was made for it is gone again.
  expect(caught(() => counter.attachTc(ingress({ via: 'clsact' })))).toMatchObject({
    name: 'EbpfStateError',
  });
  expect(qdisc()).toBeUndefined();
});

test('order places a program among those that are there', () => {
  const [a, b, c, d, e, f] = Array.from({ length: 6 }, () => program());
  if (!a || !b || !c || !d || !e || !f) return expect.unreachable();
  using linkA = a.attachTc(ingress());
  using _b = b.attachTc(ingress({ order: 'last' }));
  using _c = c.attachTc(ingress({ order: 'first' }));
  using _d = d.attachTc(ingress({ order: { before: { programId: b.id } } }));
  using _e = e.attachTc(ingress({ order: { after: { linkId: linkA.id ?? 0 } } }));
  using _f = f.attachTc(ingress({ order: { before: { linkId: linkA.id ?? 0 } } }));
  expect(tcx().map(({ programId }) => programId)).toEqual([c, f, a, e, d, b].map(({ id }) => id));

  const g = program();
  // The other hook has none of them.
  const order = { after: { programId: a.id } } as const;
  expect(caught(() => g.attachTc({ ...ingress({ order }), direction: 'egress' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ENOENT',
    hint: 'in order, there is nothing',
  });
  expect(caught(() => g.attachTc(ingress({ order: { before: { linkId: 0xffff_fff0 } } })))).toMatchObject({
    hint: expect.stringContaining(`program ${c.id} (link `),
  });
  expect(tcx()).toHaveLength(6);
});

test('TCX takes a program once for each hook', () => {
  const counter = program();
  using link = counter.attachTc(ingress());
  using egress = counter.attachTc({ ...ingress(), direction: 'egress' });
  expect(caught(() => counter.attachTc(ingress()))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EEXIST',
    holder: { programId: counter.id, linkId: link.id, name: 'tc_count' },
  });
  expect([tcx(), tcx('egress')].map((on) => on.map(({ linkId }) => linkId))).toEqual([
    [link.id],
    [egress.id],
  ]);
});

test('free priorities and handles are chosen, and taken ones are refused with their holder', () => {
  addForeignFilters(netns, veth.b.name, 'ingress');
  const counter = program();
  const free = [counter, counter, counter].map((each) => each.attachTc(ingress({ via: 'clsact' })));
  const beside = counter.attachTc(ingress({ priority: 3 }));
  expect(new Set(filters().map(({ priority, handle }) => `${priority} ${handle}`)).size).toBe(24);
  expect(filters().filter(({ programId }) => programId === counter.id)).toHaveLength(4);
  // Foreign filters below 32768 run before ours.
  const ours = free.map(({ priority }) => priority ?? 0);
  expect(Math.min(...ours)).toBeGreaterThan(32_768);

  const list = filters();
  const [there] = list;
  const second = program();
  const taken = caught(() => second.attachTc(ingress({ priority: 1, handle: 7 })));
  expect(taken).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EEXIST',
    errno: 17,
    holder: { programId: there?.programId, name: 'tc_count' },
    hint: expect.stringContaining('another priority or handle'),
  });
  expect((taken as Error).message).toContain(`held by program ${there?.programId} "tc_count" at priority 1`);
  const kind = caught(() => second.attachTc(ingress({ priority: 1004 })));
  expect(kind).toMatchObject({ code: 'EEXIST', message: expect.stringContaining('held by a u32 filter') });
  expect((kind as { holder?: unknown }).holder).toBeUndefined();
  expect(filters()).toEqual(list);
  for (const link of [...free, beside]) link.detach();
  expect(filters()).toHaveLength(20);
});

test('a priority is found where the kernel has none left to give', () => {
  // From 32768 on it gives out what is before the lowest one (net/sched/cls_api.c, tcf_auto_prio).
  const counter = program();
  using _ = counter.attachTc(ingress({ priority: 32_768 }));
  using first = counter.attachTc(ingress({ via: 'clsact' }));
  using second = counter.attachTc(ingress({ via: 'clsact' }));
  expect(filters().map(({ priority }) => priority)).toEqual([32_768, second.priority, first.priority]);
});

test('without TCX, auto takes clsact, and order is not supported', async () => {
  // An addon over a kernel before 6.6, which does not know the hook.
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-'));
  const addon = join(folder, 'addon.cjs');
  const real = process.env.NODE_EBPF_BINARY ?? fileURLToPath(new URL(BUILT_HERE, import.meta.url));
  writeFileSync(
    addon,
    `const addon = require(${JSON.stringify(real)});
     const tcxPrograms = () => {
       throw Object.assign(new Error('Invalid argument'), { errno: 22, operation: 'bpf_prog_query' });
     };
     module.exports = { ...addon, tcxPrograms };`,
  );
  try {
    const child = runModule(
      `const program = ebpf.loadObjectSync(${JSON.stringify(testObject('tc_count'))}).program('tc_count');
       const at = ${JSON.stringify(ingress())};
       console.log(JSON.stringify([{ order: 'first' }, { via: 'tcx' }].map((options) => {
         try {
           return program.attachTc({ ...at, ...options }).via;
         } catch ({ name, feature, minKernel }) {
           return { name, feature, minKernel };
         }
       })));
       console.log(program.attachTc(at).via);
       process.stdin.resume();`,
      { prefix: ['env', `NODE_EBPF_BINARY=${addon}`] },
    );
    const refused = { name: 'EbpfNotSupportedError', feature: 'tcx', minKernel: '6.6' };
    expect(JSON.parse(await child.line())).toEqual([refused, refused]);
    expect(await child.line()).toBe('clsact');
    expect([filters().length, tcx().length]).toEqual([1, 0]);
    child.process.stdin?.end();
    expect((await child.ended()).status).toBe(0);
    expect(filters()).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each(['tcx', 'clsact'] as const)('update by %s swaps the program where it is', async (via) => {
  const [one, two] = [program(), program()];
  using link = one.attachTc(ingress({ via }));
  await send(30);
  link.update(two);
  expect(attachedIds()).toEqual([two.id]);
  expect(link.state()).toBe('attached');
  await send(40);
  expect([countedBy(one.id), countedBy(two.id)]).toEqual([30, 40]);

  const stale = caught(() => link.update(one, { expect: one }));
  expect(stale).toMatchObject(
    via === 'tcx' ? { code: 'EPERM' } : { code: 'ERR_EBPF_REPLACED', holder: { programId: two.id } },
  );
  expect(attachedIds()).toEqual([two.id]);
  link.update(one, { expect: two });
  expect(attachedIds()).toEqual([one.id]);
  link.detach();
  expect(attachedIds()).toEqual([]);
});

test.each(['tcx', 'clsact'] as const)(
  '20 foreign filters and a foreign XDP program survive attach, detach, force-unload and kill -9 by %s',
  async (via) => {
    addForeignFilters(netns, veth.b.name, 'ingress');
    netns.ip('link', 'set', 'dev', veth.b.name, 'xdp', 'obj', testObject('pass'), 'sec', 'xdp');
    const xdp = xdpOf(netns, veth.b.name);
    const theirs: Filter[] = filters();
    expect(theirs).toHaveLength(20);
    const counting = theirs.flatMap(({ programId }) => programId ?? []);
    expect(counting).toHaveLength(10);
    let sent = 0;
    const stillThere = async (ours: number) => {
      sent += (await send(100)).sent;
      expect(foreign(ours)).toEqual(theirs);
      expect(xdpOf(netns, veth.b.name)).toEqual(xdp);
      expect(countedBy(xdp.programId ?? 0)).toBe(sent);
      expect(counting.map(countedBy)).toEqual(counting.map(() => sent));
    };

    const counter = program();
    const link = counter.attachTc(ingress({ via, removeQdisc: true }));
    expect(attachedIds()).toContain(counter.id);
    await stillThere(counter.id);
    expect(countedBy(counter.id)).toBe(100);
    link.detach();
    expect(attachedIds()).not.toContain(counter.id);
    await stillThere(counter.id);

    const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
    const id = loader.getProgram(handle)?.program.id ?? 0;
    await loader.attachTc(handle, ingress({ via }));
    expect(attachedIds()).toContain(id);
    await stillThere(id);
    expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
    expect(programExists(id)).toBe(false);
    await stillThere(id);

    const child = attachedChild({ via }, '');
    const killed = Number(await child.line());
    expect(attachedIds()).toContain(killed);
    await stillThere(killed);
    child.process.kill('SIGKILL');
    expect((await child.ended()).status).toBe('SIGKILL');
    if (via === 'tcx') {
      await untilGone({ programs: [killed] });
      expect(tcx()).toEqual([]);
    } else {
      expect(attachedIds()).toContain(killed);
    }
    await stillThere(killed);
  },
);

test('the qdisc is made where it is absent, and stays', () => {
  const counter = program();
  counter.attachTc(ingress({ via: 'clsact' })).detach();
  expect(qdisc()).toBe('clsact');
  // It is no longer ours to remove: somebody may have come to rely on it.
  counter.attachTc(ingress({ via: 'clsact', removeQdisc: true })).close();
  expect(qdisc()).toBe('clsact');
});

test('removeQdisc removes what we made, once both hooks are empty', () => {
  const counter = program();
  const options = { via: 'clsact', removeQdisc: true } as const;
  const first = counter.attachTc(ingress(options));
  const second = counter.attachTc({ ...ingress(options), direction: 'egress' });
  first.detach();
  expect(qdisc()).toBe('clsact');
  expect(second.state()).toBe('attached');
  second.detach();
  expect(qdisc()).toBeUndefined();

  const third = counter.attachTc(ingress(options));
  addForeignFilters(netns, veth.b.name, 'egress');
  third.close();
  expect(filters()).toEqual([]);
  expect(filters('egress')).toHaveLength(20);
});

test('removeQdisc leaves somebody else’s qdisc, and one that was made anew under us', () => {
  netns.exec('tc', ['qdisc', 'add', 'dev', veth.b.name, 'clsact']);
  const counter = program();
  const options = { via: 'clsact', removeQdisc: true } as const;
  counter.attachTc(ingress(options)).close();
  expect(qdisc()).toBe('clsact');

  netns.exec('tc', ['qdisc', 'delete', 'dev', veth.b.name, 'clsact']);
  const link = counter.attachTc(ingress(options));
  netns.exec('tc', ['qdisc', 'delete', 'dev', veth.b.name, 'clsact']);
  netns.exec('tc', ['qdisc', 'add', 'dev', veth.b.name, 'clsact']);
  counter.attachTc(ingress(options)).close();
  link.close();
  expect(qdisc()).toBe('clsact');
});

test('an ingress qdisc has an ingress and no egress', async () => {
  netns.exec('tc', ['qdisc', 'add', 'dev', veth.b.name, 'ingress']);
  const counter = program();
  using link = counter.attachTc(ingress({ via: 'clsact', removeQdisc: true }));
  await send(20);
  expect(countedBy(counter.id)).toBe(20);
  expect(
    caught(() => counter.attachTc({ ...ingress({ via: 'clsact' }), direction: 'egress' })),
  ).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EEXIST',
    hint: expect.stringContaining('tcx'),
  });
  link.detach();
  expect(qdisc()).toBe('ingress');
});

test('a qdisc that is deleted from outside takes the filter along', async () => {
  const [counter, second] = [program(), program()];
  const link = counter.attachTc(ingress({ via: 'clsact' }));
  const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  await loader.attachTc(handle, ingress({ via: 'clsact' }));
  netns.exec('tc', ['qdisc', 'delete', 'dev', veth.b.name, 'clsact']);
  expect(link.state()).toBe('detached');
  expect(caught(() => link.update(second))).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
  expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
  expect(qdisc()).toBeUndefined();
  link.close();
  expect(await loader.detachFromInterface(handle, at())).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('from outside')]);
  // It can be attached again, on a qdisc made anew.
  await loader.attachTc(handle, ingress({ via: 'clsact' }));
  expect(filters()).toHaveLength(1);
});

test('a filter that somebody replaced is theirs', async () => {
  const counter = program();
  const link = counter.attachTc(ingress({ via: 'clsact' }));
  const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  const attachment = await loader.attachTc(handle, ingress({ priority: 10 }));
  replaceFilter(netns, veth.b.name, 'ingress', link);
  replaceFilter(netns, veth.b.name, 'ingress', attachment.link as TcLink);
  const theirs = filters();
  expect(theirs).toHaveLength(2);
  const [atTen, atOurs] = theirs.map(({ programId }) => programId);
  expect(link.state()).toBe('replaced');
  for (const work of [() => link.detach(), () => link.update(program())]) {
    expect(caught(work)).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ERR_EBPF_REPLACED',
      holder: { programId: atOurs, name: 'tc_count' },
    });
  }
  const replaced = { code: 'ERR_EBPF_REPLACED', holder: { programId: atTen } };
  expect(await rejection(loader.detachFromInterface(handle, at()))).toMatchObject(replaced);
  expect(await rejection(loader.unloadProgram(handle, { force: true }))).toMatchObject(replaced);
  link.close();
  await loader.close();
  expect(filters()).toEqual(theirs);
  await send(10);
  expect(theirs.map(({ programId }) => countedBy(programId ?? 0))).toEqual([10, 10]);
});

test('the loader: one attachment for each hook', async () => {
  const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  const id = loader.getProgram(handle)?.program.id;
  const first = await loader.attachTc(handle, ingress());
  expect(first).toMatchObject({ hook: 'tc-ingress', iface: veth.b.name, netns: netns.path, tried: [] });
  expect(first.mode).toBeUndefined();
  expect(await loader.attachTc(handle, { ...ingress(), iface: veth.b.ifindex })).toBe(first);
  const second = await loader.attachTc(handle, { ...ingress(), direction: 'egress' });
  expect(second).not.toBe(first);
  expect(loader.getProgram(handle)?.attachments).toEqual([first, second]);
  expect([tcx(), tcx('egress')].flat().map(({ programId }) => programId)).toEqual([id, id]);

  expect(await loader.detachFromInterface(handle, { ...at(), direction: 'ingress' })).toBe(true);
  expect([tcx().length, tcx('egress').length]).toEqual([0, 1]);
  expect(await loader.detachFromInterface(handle, { ...at(), direction: 'ingress' })).toBe(false);
  await loader.attachTc(handle, ingress({ via: 'clsact' }));
  // Without a direction: off every hook of the interface.
  expect(await loader.detachFromInterface(handle, at())).toBe(true);
  expect([attachedIds(), tcx('egress')]).toEqual([[], []]);
  expect(loader.getProgram(handle)?.state).toBe('loaded');
});

test('the loader: XDP and TC on one interface do not disturb each other', async () => {
  const tc = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  const xdp = await loader.loadProgram(testObject('pass'), ProgramType.XDP);
  await loader.attachXdp(xdp, at());
  expect(await rejection(loader.detachFromInterface(tc, at()))).toMatchObject({
    code: 'ERR_EBPF_NOT_ATTACHED',
  });
  expect(await rejection(loader.attachTc(xdp, ingress()))).toMatchObject({ code: 'ERR_EBPF_PROGRAM_TYPE' });
  expect(await rejection(loader.attachXdp(tc, at()))).toMatchObject({ code: 'ERR_EBPF_PROGRAM_TYPE' });
  await loader.attachTc(tc, ingress());
  expect(await loader.detachFromInterface(xdp, at())).toBe(true);
  expect(xdpOf(netns, veth.b.name)).toEqual({});
  expect(tcx()).toHaveLength(1);
});

test('attachToInterface puts a TC program on ingress', async () => {
  const child = runModule(
    `const loader = new ebpf.EbpfLoader();
     const handle = await loader.loadProgram(${JSON.stringify(testObject('tc_count'))}, 'tc');
     const { hook, link } = await loader.attachToInterface(handle, ${JSON.stringify(veth.b.name)});
     console.log(hook, link.id, loader.getInterfacePrograms(${veth.b.ifindex}).length);
     await new Promise((resolve) => process.stdin.once('data', resolve));
     console.log(await loader.detachFromInterface(handle, ${JSON.stringify(veth.b.name)}));
     console.log(loader.getInterfacePrograms(${JSON.stringify(veth.b.name)}).length);
     await loader.close();
     process.stdin.destroy();`,
    { prefix: ['ip', 'netns', 'exec', netns.name] },
  );
  const [hook, linkId, listed] = (await child.line()).split(' ');
  expect([hook, listed]).toEqual(['tc-ingress', '1']);
  expect(tcx().map((on) => on.linkId)).toEqual([Number(linkId)]);
  child.process.stdin?.write('\n');
  expect([await child.line(), await child.line()]).toEqual(['true', '0']);
  expect(tcx()).toEqual([]);
  expect((await child.ended()).status).toBe(0);
});

test.each([
  ['net_admin', 'clsact', { name: 'EbpfPermissionError', missing: ['CAP_NET_ADMIN'] }],
  ['sys_admin', 'clsact', {}],
  ['sys_admin', 'tcx', {}],
] as const)('without CAP_%s, attached by %s', async (dropped, via, outcome) => {
  const child = runModule(
    `const program = ebpf.loadObjectSync(${JSON.stringify(testObject('tc_count'))}).program('tc_count');
     const at = ${JSON.stringify({ iface: veth.b.name, direction: 'egress', via, removeQdisc: true })};
     try {
       const link = program.attachTc(at);
       link.update(program);
       if (link.state() !== 'attached') throw new Error(link.state());
       link.detach();
       console.log('{}');
     } catch ({ name, missing }) {
       console.log(JSON.stringify({ name, missing }));
     }`,
    { prefix: ['ip', 'netns', 'exec', netns.name, 'setpriv', `--bounding-set=-${dropped}`] },
  );
  const { stdout, stderr, status } = await child.ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  expect(JSON.parse(stdout)).toEqual(outcome);
  expect([tcx('egress'), qdisc()]).toEqual([[], undefined]);
});

test.each(['tcx', 'clsact'] as const)('%s: an interface that is down', async (via) => {
  const { b } = netns.addVeth({ up: false });
  const counter = program();
  const down = { ...ingress({ via }), iface: b.name };
  expect(caught(() => counter.attachTc(down))).toMatchObject({
    code: 'ERR_EBPF_INTERFACE_DOWN',
    hint: expect.stringContaining('bringUp'),
  });
  expect([tcxOf(netns, b, 'ingress'), qdiscOf(netns, b.name)]).toEqual([[], undefined]);
  counter.attachTc({ ...down, bringUp: true }).close();
  expect(netns.ip('link', 'show', 'dev', b.name)).toMatch(/<[^>]*\bUP\b/);

  netns.ip('link', 'set', b.name, 'down');
  const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  expect(await rejection(loader.attachTc(handle, { ...down, bringUp: false }))).toMatchObject({
    code: 'ERR_EBPF_INTERFACE_DOWN',
  });
  await loader.attachTc(handle, down);
  expect(warnings).toEqual([expect.stringContaining(b.name)]);
  expect(netns.ip('link', 'show', 'dev', b.name)).toMatch(/<[^>]*\bUP\b/);
});

test.each(['tcx', 'clsact'] as const)('%s: an interface that vanishes', async (via) => {
  const counter = program();
  const link = counter.attachTc(ingress({ via }));
  const handle = await loader.loadProgram(testObject('tc_count'), ProgramType.TC);
  await loader.attachTc(handle, ingress({ via }));
  netns.ip('link', 'delete', veth.a.name);
  expect(link.state()).toBe('detached');
  link.close();
  expect(await loader.detachFromInterface(handle, at())).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('from outside')]);
});

test('a namespace by its descriptor', () => {
  const fd = openSync(netns.path, 'r');
  try {
    const counter = program();
    using link = counter.attachTc({ ...ingress({ via: 'clsact' }), netns: fd });
    expect(filters()).toMatchObject([{ programId: counter.id }]);
    expect(link.state()).toBe('attached');
    link.detach();
    expect(filters()).toEqual([]);
  } finally {
    closeSync(fd);
  }
});

/** A process that attaches, says the program's id, waits for a line, and ends as it is told. */
function attachedChild(options: Partial<TcOptions>, ending: string): Child {
  return runModule(`
    const object = await ebpf.loadObject(${JSON.stringify(testObject('tc_count'))});
    globalThis.link = object.program('tc_count').attachTc(${JSON.stringify(ingress(options))});
    console.log(object.program('tc_count').id);
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.stdin.destroy();
    ${ending}`);
}

test.each([
  ['process.exit()', 'process.exit(0);', 0],
  ['an empty event loop', '', 0],
  ['an uncaught exception', "throw new Error('on purpose');", 1],
])('a clsact filter is taken off at the end by %s', async (_, ending, status) => {
  const child = attachedChild({ via: 'clsact', removeQdisc: true }, ending);
  const id = Number(await child.line());
  expect(attachedIds()).toEqual([id]);
  child.process.stdin?.write('\n');
  expect((await child.ended()).status).toBe(status);
  expect(filters()).toEqual([]);
  expect(qdisc()).toBeUndefined();
});

test('a clsact filter that somebody replaced stays theirs when the process ends', async () => {
  const child = attachedChild({ priority: 5, handle: 5, removeQdisc: true }, 'process.exit(0);');
  const id = Number(await child.line());
  replaceFilter(netns, veth.b.name, 'ingress', { priority: 5, handle: 5 });
  const theirs = filters();
  expect(theirs.map(({ programId }) => programId)).not.toContain(id);
  child.process.stdin?.write('\n');
  await child.ended();
  expect(filters()).toEqual(theirs);
  expect(theirs).toHaveLength(1);
});

test('a worker that is terminated takes its filters along, and the qdisc that it made', async () => {
  addForeignFilters(netns, veth.a.name, 'egress');
  const theirs = filtersOf(netns, veth.a.name, 'egress');
  const egress = {
    ...ingress({ via: 'clsact', removeQdisc: true }),
    iface: veth.a.name,
    direction: 'egress',
  };
  const child = runModule(`
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(\`
      import(\${JSON.stringify(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)})}).then(async (ebpf) => {
        const object = await ebpf.loadObject(${JSON.stringify(testObject('tc_count'))});
        const program = object.program('tc_count');
        program.attachTc(${JSON.stringify(ingress({ via: 'clsact', removeQdisc: true }))});
        program.attachTc(${JSON.stringify(ingress({ via: 'tcx' }))});
        program.attachTc(${JSON.stringify(egress)});
        (await import('node:worker_threads')).parentPort.postMessage(program.id);
        setInterval(() => {}, 1000);
      });\`, { eval: true });
    console.log(await new Promise((resolve) => worker.once('message', resolve)));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    await worker.terminate();
    console.log('terminated');
    process.stdin.resume();`);
  const id = Number(await child.line());
  expect(attachedIds()).toEqual([id, id]);
  expect(filtersOf(netns, veth.a.name, 'egress')).toHaveLength(21);
  child.process.stdin?.write('\n');
  expect(await child.line()).toBe('terminated');
  await untilGone({ programs: [id] });
  expect([attachedIds(), qdisc()]).toEqual([[], undefined]);
  expect(filtersOf(netns, veth.a.name, 'egress')).toEqual(theirs);
  child.process.stdin?.end();
  expect((await child.ended()).status).toBe(0);
});

test('an object that closes takes its TC links along', async () => {
  const object = await loadObject(testObject('tc_count'));
  object.program('tc_count').attachTc(ingress());
  object.program('tc_count').attachTc(ingress({ via: 'clsact' }));
  expect(attachedIds()).toHaveLength(2);
  object.close();
  expect(attachedIds()).toEqual([]);
});
