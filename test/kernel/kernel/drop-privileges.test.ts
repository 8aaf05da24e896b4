import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { endChildren, runModule } from '../../helpers/child.ts';
import { kernelIsAtLeast } from '../../helpers/features.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { shippedObject } from '../../helpers/objects.ts';
import { sendFrames } from '../../helpers/send.ts';

let before: Snapshot;
let ns: Netns;
beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  ns = createNetns();
});
afterEach(() => {
  endChildren();
  ns.close();
});
afterAll(() => assertNothingLeft(before));

/** Who a process's threads are, from outside: each different answer once. */
function identities(pid: number | undefined): string[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  expect(tasks.length).toBeGreaterThan(4); // V8's workers and libuv's pool
  const all = tasks.map((task) => {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1');
    return ['Uid', 'Gid', 'Groups', 'CapEff', 'CapPrm']
      .map((name) => new RegExp(`^${name}:\\s*?(.*)$`, 'm').exec(status)?.[1]?.trim().replaceAll('\t', ' '))
      .join('|');
  });
  return [...new Set(all)];
}

const NOBODY = '65534 65534 65534 65534|65534 65534 65534 65534||0000000000000000|0000000000000000';
const OBJECT = JSON.stringify(shippedObject('xdp_counter'));

/** Waits for a line on standard input before each step. */
const STEPS = `
  const { createInterface } = await import('node:readline');
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const say = (value) => console.log(JSON.stringify(value));
  const failure = (error) => ({ name: error.name, code: error.code, message: error.message, missing: error.missing });`;

test.each([
  ['names', `{ uid: 'nobody', gid: 'nogroup' }`],
  ['numbers', '{ uid: 65534, gid: 65534 }'],
  ['numbers in strings', `{ uid: '65534', gid: '65534' }`],
])('by %s: every thread is nobody, the counts go on, and nothing new can be loaded', async (_, who) => {
  const { a, b } = ns.addVeth();
  const child = runModule(
    `${STEPS}
    const fs = await import('node:fs/promises');
    const { Worker } = await import('node:worker_threads');
    await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => fs.stat('/'))); // the pool's threads
    const worker = new Worker("import('node:worker_threads').then((w) => w.parentPort.once('message', () => {}))", { eval: true });
    await new Promise((resolve) => worker.once('online', resolve));
    const counter = await programs.XdpCounter.attach({ iface: ${JSON.stringify(b.name)} });
    ebpf.dropPrivileges(${who});
    say({ id: counter.link.id });
    await lines.next();
    const refused = await ebpf.loadObject(${OBJECT}).then(() => 'loaded', failure);
    const again = await (async () => ebpf.dropPrivileges(${who}))().catch(failure);
    const { reason } = await ebpf.tryCreateLoader();
    const attempt = (work) => { try { return work(); } catch (error) { return failure(error); } };
    const [counts, state] = [attempt(() => counter.read()), attempt(() => counter.link.state())];
    say({ counts, state, refused, again, reason: failure(reason) });
    await lines.next();
    counter.close();
    say('closed');
    await lines.next();
    process.exit();`,
    { prefix: ['ip', 'netns', 'exec', ns.name] },
  );
  const { id } = JSON.parse(await child.line()) as { id: number };
  expect(id).toBeGreaterThan(0);
  expect(identities(child.process.pid)).toEqual([NOBODY]);
  const frame = frames.udp4(frames.bytes(100));
  await sendFrames([{ frame, count: 321 }], { netns: ns, iface: a.name, receiver: b.name });
  child.process.stdin?.write('\n');
  // Before 5.19 bpf(2) is closed to who has no capability (kernel.unprivileged_bpf_disabled), reads included.
  const open = kernelIsAtLeast('5.19');
  const closed = { name: 'EbpfPermissionError', missing: ['CAP_BPF'] };
  expect(JSON.parse(await child.line())).toMatchObject({
    counts: open ? { udp: { packets: 321, bytes: 321 * frame.length } } : closed,
    state: open ? 'attached' : closed,
    refused: { name: 'EbpfPermissionError', code: 'EPERM', missing: ['CAP_BPF', 'CAP_NET_ADMIN'] },
    again: { name: 'EbpfPermissionError', missing: ['CAP_SETGID', 'CAP_SETUID'] },
    reason: { name: 'EbpfPermissionError', missing: ['CAP_BPF'] },
  });
  expect(identities(child.process.pid)).toEqual([NOBODY]); // threads that came later too
  expect(xdpOf(ns, b.name).mode).toBe('drv');
  child.process.stdin?.write('\n');
  expect(JSON.parse(await child.line())).toBe('closed');
  expect(xdpOf(ns, b.name)).toEqual({}); // its own link it can take off
  child.process.stdin?.write('\n');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

async function outcome(body: string, prefix: readonly string[] = []): Promise<Record<string, unknown>> {
  const { stdout, stderr, status } = await runModule(
    `${STEPS}
    const worker = async (source) => {
      const { Worker } = await import('node:worker_threads');
      const url = ${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)};
      const w = new Worker("import('node:worker_threads').then(({ parentPort }) => import('" + url + "').then((ebpf) => {" + source + "}))", { eval: true });
      return new Promise((resolve) => w.once('message', resolve));
    };
    const ids = () => [process.getuid(), process.getgid(), process.getgroups()];
    const start = JSON.stringify(ids());
    const result = await (async () => { ${body} })().then(() => ({}), failure);
    say({ ...result, unchanged: start === JSON.stringify(ids()) });
    process.exit();`,
    { prefix },
  ).ended();
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Record<string, unknown>;
}

test.each([
  ['a user that is not there', `{ uid: 'not-there', gid: 0 }`, { code: 'ERR_EBPF_NO_USER' }],
  ['a group that is not there', `{ uid: 65534, gid: 'not-there' }`, { code: 'ERR_EBPF_NO_GROUP' }],
  ['no name', `{ uid: '', gid: 65534 }`, { code: 'ERR_EBPF_NO_USER' }],
  ['root', `{ uid: 'root', gid: 65534 }`, { name: 'RangeError' }],
  // (uid_t)-1 tells setresuid(2) to change nothing.
  ['minus one', `{ uid: 4294967295, gid: 65534 }`, { name: 'RangeError' }],
  ['minus one in a string', `{ uid: 65534, gid: '4294967295' }`, { name: 'RangeError' }],
  ['a fraction', `{ uid: 1.5, gid: 65534 }`, { name: 'RangeError' }],
  ['nothing', `{ uid: undefined, gid: 65534 }`, { name: 'TypeError' }],
])('%s is refused, and nothing changes', async (_, who, expected) => {
  expect(await outcome(`ebpf.dropPrivileges(${who})`)).toMatchObject({ ...expected, unchanged: true });
});

test.each([
  ['CAP_SETUID', 'setuid'],
  ['CAP_SETGID', 'setgid'],
])('without %s nothing is dropped, and the error names it', async (capability, dropped) => {
  expect(
    await outcome('ebpf.dropPrivileges({ uid: 65534, gid: 65534 })', [
      'setpriv',
      `--bounding-set=-${dropped}`,
    ]),
  ).toMatchObject({ name: 'EbpfPermissionError', missing: [capability], unchanged: true });
});

test('a worker cannot', async () => {
  const source =
    'try { ebpf.dropPrivileges({ uid: 65534, gid: 65534 }) } catch (e) { parentPort.postMessage(e.name) }';
  expect(
    await outcome(`throw Object.assign(new Error(), { name: await worker(${JSON.stringify(source)}) })`),
  ).toMatchObject({ name: 'EbpfNotSupportedError', unchanged: true });
});

test('capabilities that survive the change of user are found', async () => {
  // A user with CAP_SETUID keeps what it has: the kernel clears capabilities only on the way from 0.
  const prefix = ['setpriv', '--reuid=1', '--regid=1', '--clear-groups'];
  const caps = ['--inh-caps=+setuid,+setgid', '--ambient-caps=+setuid,+setgid'];
  expect(
    await outcome('ebpf.dropPrivileges({ uid: 65534, gid: 65534 })', [...prefix, ...caps]),
  ).toMatchObject({ name: 'EbpfStateError', code: 'ERR_EBPF_PRIVILEGES_KEPT', unchanged: false });
});
