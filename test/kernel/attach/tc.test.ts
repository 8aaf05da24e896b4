import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { TcOptions } from '../../../lib/attach/tc.ts';
import { EbpfLoader } from '../../../lib/loader/loader.ts';
import { type BpfObject, loadObjectSync } from '../../../lib/object/object.ts';
import { ProgramType } from '../../../lib/object-file/program-type.ts';
import type { BpfProgram } from '../../../lib/program/program.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith } from '../../helpers/features.ts';
import { udp4 } from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';
import { sendFrames } from '../../helpers/send.ts';
import { countedBy, type Direction, filtersOf, qdiscOf, tcxOf } from '../../helpers/tc.ts';

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
const send = (count: number) =>
  sendFrames([{ frame: udp4(), count }], { netns, iface: veth.a.name, receiver: veth.b.name });
/** Our program on the ingress of v0b, whichever way it got there. */
const attachedIds = () => [...tcx(), ...filters()].map(({ programId }) => programId);

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

testWith('tcx')('order places a program among those that are there', () => {
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
    hint: 'attached, in order: nothing',
  });
  expect(caught(() => g.attachTc(ingress({ order: { before: { linkId: 0xffff_fff0 } } })))).toMatchObject({
    hint: expect.stringContaining(`program ${c.id} (link `),
  });
  expect(tcx()).toHaveLength(6);
});

testWith('tcx')('TCX takes a program once for each hook', () => {
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

for (const via of ['tcx', 'clsact'] as const) {
  (via === 'tcx' ? testWith('tcx') : test)(`update by ${via} swaps the program where it is`, async () => {
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
}

testWith('tcx')('the loader: XDP and TC on one interface do not disturb each other', async () => {
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

testWith('tcx')('attachToInterface puts a TC program on ingress', async () => {
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

for (const [dropped, via, outcome] of [
  ['net_admin', 'clsact', { name: 'EbpfPermissionError', missing: ['CAP_NET_ADMIN'] }],
  ['sys_admin', 'clsact', {}],
  ['sys_admin', 'tcx', {}],
] as const) {
  (via === 'tcx' ? testWith('tcx') : test)(`without CAP_${dropped}, attached by ${via}`, async () => {
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
}
