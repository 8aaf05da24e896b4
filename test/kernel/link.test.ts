import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type BpfObject, loadObject, xdpQuery } from '../../lib/index.ts';
import { caught } from '../helpers/caught.ts';
import { endChildren, runModule } from '../helpers/child.ts';
import { udp4 } from '../helpers/frames.ts';
import {
  assertNothingLeft,
  linkIds,
  type Snapshot,
  snapshotIds,
  untilGone,
  xdpOf,
} from '../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { sendFrames } from '../helpers/send.ts';
import { until } from '../helpers/until.ts';

let before: Snapshot;
let netns: Netns;
let veth: Veth;
let ours: BpfObject;
let foreign: BpfObject;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(async () => {
  netns = createNetns();
  veth = netns.addVeth();
  ours = await loadObject(shippedObject('xdp_counter'));
  foreign = await loadObject(testObject('pass'));
});
afterEach(() => {
  endChildren();
  ours.close();
  foreign.close();
  netns.close();
});
afterAll(() => assertNothingLeft(before));

const counter = () => ours.program('xdp_counter');
const pass = () => foreign.program('pass');
const at = () => ({ iface: veth.b.name, netns: netns.path });
const attachedId = () => xdpOf(netns, veth.b.name).programId;
const passed = () =>
  new DataView((foreign.map('passed').get(0) ?? new Uint8Array(8)).buffer).getBigUint64(0, true);

test('a link has the kernel’s id, ends with close, and close is idempotent', () => {
  const link = counter().attachXdp(at());
  expect(linkIds().has(link.id ?? -1)).toBe(true);
  expect(link).toMatchObject({ kind: 'xdp', owner: 'fd', mode: 'drv', ifindex: veth.b.ifindex });
  expect(xdpQuery(at())).toMatchObject({ mode: 'drv', programId: counter().id });
  expect(xdpQuery(at()).features).toContain('basic');
  link.close();
  link.close();
  expect(attachedId()).toBeUndefined();
  expect(linkIds().has(link.id ?? -1)).toBe(false);
  expect(caught(() => link.state())).toMatchObject({ name: 'EbpfStateError', state: 'closed' });
  expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfStateError' });
  expect(caught(() => link.update(pass()))).toMatchObject({ name: 'EbpfStateError' });
});

test('one mode is that mode', () => {
  using link = counter().attachXdp({ ...at(), mode: 'skb' });
  expect(xdpOf(netns, veth.b.name)).toEqual({ mode: 'skb', programId: counter().id });
  expect(link.mode).toBe('skb');
  netns.upLoopback();
  expect(caught(() => counter().attachXdp({ iface: 'lo', netns: netns.path }))).toMatchObject({
    code: 'EOPNOTSUPP',
  });
});

test('an object that closes takes its links along', () => {
  counter().attachXdp(at());
  ours.close();
  expect(attachedId()).toBeUndefined();
  expect(caught(() => counter())).toMatchObject({ name: 'EbpfStateError' });
});

test('update swaps the program; state tells what the kernel has', () => {
  using link = counter().attachXdp(at());
  expect(link.state()).toBe('attached');
  link.update(pass());
  expect(attachedId()).toBe(pass().id);
  expect(link.state()).toBe('attached');
  expect(caught(() => link.update(counter(), { expect: counter() }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EPERM',
  });
  expect(attachedId()).toBe(pass().id);
  link.update(counter(), { expect: pass() });
  expect(attachedId()).toBe(counter().id);
});

test('netlink: attach, refuse the second, replace by name, detach what is ours', async () => {
  const link = counter().attachXdp({ ...at(), via: 'netlink' });
  expect(link).toMatchObject({ owner: 'netlink' });
  expect(link.id).toBeUndefined();
  expect(attachedId()).toBe(counter().id);
  const busy = caught(() => pass().attachXdp({ ...at(), via: 'netlink' }));
  expect(busy).toMatchObject({
    code: 'EBUSY',
    holder: { programId: counter().id, name: 'xdp_counter' },
    hint: expect.stringContaining('replace'),
  });
  expect(caught(() => pass().attachXdp({ ...at(), replace: { programId: pass().id } }))).toMatchObject({
    name: 'EbpfAttachError',
  });
  expect(attachedId()).toBe(counter().id);

  const taken = pass().attachXdp({ ...at(), replace: { programId: counter().id } });
  expect(attachedId()).toBe(pass().id);
  expect(link.state()).toBe('replaced');
  // The one that was replaced must not take its successor off.
  expect(caught(() => link.detach())).toMatchObject({ name: 'EbpfAttachError', code: 'EEXIST' });
  link.close();
  expect(attachedId()).toBe(pass().id);
  await sendFrames([{ frame: udp4(), count: 50 }], { netns, iface: veth.a.name, receiver: veth.b.name });
  expect(passed()).toBe(50n);
  taken.detach();
  expect(attachedId()).toBeUndefined();
});

test('netlink cannot take a link’s place', () => {
  using link = counter().attachXdp(at());
  const error = caught(() => pass().attachXdp({ ...at(), replace: { programId: counter().id } }));
  expect(error).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EBUSY',
    holder: { programId: counter().id, linkId: link.id },
  });
  expect(attachedId()).toBe(counter().id);
});

test('a netlink attachment whose interface is gone is detached', () => {
  const link = counter().attachXdp({ ...at(), via: 'netlink' });
  netns.ip('link', 'delete', veth.a.name);
  expect(link.state()).toBe('detached');
  link.close();
});

const netlinkChild = (ending: string) =>
  runModule(`
    const object = await ebpf.loadObject(${JSON.stringify(shippedObject('xdp_counter'))});
    globalThis.link = object.program('xdp_counter').attachXdp({ ...${JSON.stringify(at())}, via: 'netlink' });
    console.log(object.program('xdp_counter').id);
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.stdin.destroy();
    ${ending}`);

test.each([
  ['process.exit()', 'process.exit(0);', 0],
  ['an empty event loop', '', 0],
  ['an uncaught exception', "throw new Error('on purpose');", 1],
])('a netlink attachment is taken off at the end by %s', async (_, ending, status) => {
  const child = netlinkChild(ending);
  const id = Number(await child.line());
  expect(attachedId()).toBe(id);
  child.process.stdin?.write('\n');
  expect((await child.ended()).status).toBe(status);
  expect(attachedId()).toBeUndefined();
});

test('a netlink attachment that somebody took over stays theirs when the process ends', async () => {
  const child = netlinkChild('process.exit(0);');
  const id = Number(await child.line());
  const taken = pass().attachXdp({ ...at(), replace: { programId: id } });
  child.process.stdin?.write('\n');
  await child.ended();
  expect(attachedId()).toBe(pass().id);
  taken.detach();
});

test('a program that another process holds by a link is left alone, and kill -9 of that process frees the hook', async () => {
  const holder = runModule(`
    const object = await ebpf.loadObject(${JSON.stringify(testObject('pass'))});
    const link = object.program('pass').attachXdp(${JSON.stringify(at())});
    console.log(JSON.stringify({ program: object.program('pass').id, link: link.id, map: object.map('passed').id }));
    process.stdin.resume();
    process.stdin.on('data', () => {
      const slot = object.map('passed').get(0);
      console.log(new DataView(slot.buffer).getBigUint64(0, true).toString());
    });`);
  const held = JSON.parse(await holder.line()) as { program: number; link: number; map: number };
  const error = caught(() => counter().attachXdp(at()));
  expect(error).toMatchObject({
    code: 'EBUSY',
    holder: { programId: held.program, linkId: held.link, name: 'pass' },
  });
  expect(attachedId()).toBe(held.program);
  await sendFrames([{ frame: udp4(), count: 500 }], { netns, iface: veth.a.name, receiver: veth.b.name });
  holder.process.stdin?.write('\n');
  expect(await holder.line()).toBe('500');

  holder.process.kill('SIGKILL');
  expect((await holder.ended()).status).toBe('SIGKILL');
  await untilGone({ programs: [held.program], links: [held.link], maps: [held.map] });
  await until(() => attachedId() === undefined);
});

test('a worker that is terminated takes its attachments along, by link and by netlink', async () => {
  const second = netns.addVeth();
  const worker = runModule(`
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(\`
      import(\${JSON.stringify(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)})}).then(async (ebpf) => {
        const object = await ebpf.loadObject(${JSON.stringify(shippedObject('xdp_counter'))});
        const program = object.program('xdp_counter');
        program.attachXdp(${JSON.stringify(at())});
        program.attachXdp({ ...${JSON.stringify({ ...at(), iface: second.b.name })}, via: 'netlink' });
        (await import('node:worker_threads')).parentPort.postMessage(program.id);
        setInterval(() => {}, 1000);
      });\`, { eval: true });
    const id = await new Promise((resolve) => worker.once('message', resolve));
    console.log(id);
    await new Promise((resolve) => process.stdin.once('data', resolve));
    await worker.terminate();
    console.log('terminated');
    process.stdin.resume();`);
  const id = Number(await worker.line());
  expect(attachedId()).toBe(id);
  expect(xdpOf(netns, second.b.name).programId).toBe(id);
  worker.process.stdin?.write('\n');
  expect(await worker.line()).toBe('terminated');
  await untilGone({ programs: [id] });
  expect(attachedId()).toBeUndefined();
  expect(xdpOf(netns, second.b.name)).toEqual({});
  worker.process.stdin?.end();
  expect((await worker.ended()).status).toBe(0);
});
