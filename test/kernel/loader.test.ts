import { copyFileSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { EbpfAttachError, EbpfLoader, EbpfStateError, ProgramType } from '../../lib/index.ts';
import { rejection } from '../helpers/caught.ts';
import { udp4 } from '../helpers/frames.ts';
import { assertNothingLeft, programExists, type Snapshot, snapshotIds, xdpOf } from '../helpers/kernel.ts';
import { createNetns, type Netns } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';
import { sendFrames } from '../helpers/send.ts';

let before: Snapshot;
let netns: Netns;
let loader: EbpfLoader;
let warnings: string[];

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  netns = createNetns();
  loader = new EbpfLoader();
  warnings = [];
  loader.on('warning', (message) => warnings.push(message));
});
afterEach(async () => {
  await loader.close();
  netns.close();
});
afterAll(() => assertNothingLeft(before));

const loadCounter = () => loader.loadProgram(shippedObject('xdp_counter'), ProgramType.XDP);
test('load, attach, detach, unload: the kernel agrees at every step', async () => {
  const { b } = netns.addVeth();
  const events: string[] = [];
  for (const name of ['loaded', 'attached', 'detached', 'unloaded'] as const) {
    loader.on(name, () => events.push(name));
  }
  const handle = await loadCounter();
  const id = loader.getProgram(handle)?.program.id ?? 0;
  expect(programExists(id)).toBe(true);
  expect(loader.getProgram(handle)?.state).toBe('loaded');

  const attachment = await loader.attachXdp(handle, { iface: b.name, netns: netns.path });
  expect(xdpOf(netns, b.name)).toEqual({ mode: 'drv', programId: id });
  expect(attachment).toMatchObject({
    iface: b.name,
    ifindex: b.ifindex,
    mode: 'drv',
    tried: [],
    netns: netns.path,
  });
  expect(loader.getProgram(handle)?.state).toBe('attached');

  expect(await loader.detachFromInterface(handle, { iface: b.name, netns: netns.path })).toBe(true);
  expect(xdpOf(netns, b.name)).toEqual({});
  expect(loader.getProgram(handle)?.state).toBe('loaded');

  expect(await loader.unloadProgram(handle)).toBe(true);
  expect(programExists(id)).toBe(false);
  expect(loader.listLoadedPrograms()).toEqual([]);
  expect(events).toEqual(['loaded', 'attached', 'detached', 'unloaded']);
  expect(warnings).toEqual([]);
});

test('attachToInterface is generic by default and works in the own namespace', async () => {
  const handle = await loadCounter();
  const attachment = await loader.attachToInterface(handle, 'lo');
  expect(attachment.mode).toBe('skb');
  expect(loader.getInterfacePrograms('lo')).toEqual([attachment]);
  expect(loader.getInterfacePrograms(attachment.ifindex ?? 0)).toEqual([attachment]);
  expect(await loader.detachFromInterface(handle, 'lo')).toBe(true);
});

test('two loads of one file are two instances', async () => {
  const [one, two] = [await loadCounter(), await loadCounter()];
  expect(one).not.toBe(two);
  const [first, second] = [loader.getProgram(one), loader.getProgram(two)];
  expect(first?.program.id).not.toBe(second?.program.id);
  expect(first?.object.map('packet_counters').id).not.toBe(second?.object.map('packet_counters').id);
});

test('DRV falls back to generic where the driver has no native mode, and says so', async () => {
  netns.upLoopback();
  const handle = await loadCounter();
  const attachment = await loader.attachXdp(handle, { iface: 'lo', netns: netns.path });
  expect(attachment.tried).toEqual([{ mode: 'drv', code: 'EOPNOTSUPP' }]);
  expect(attachment.mode).toBe('skb');
  expect(xdpOf(netns, 'lo').mode).toBe('skb');
});

test('HW starts the negotiation at the card', async () => {
  const { b } = netns.addVeth();
  const handle = await loadCounter();
  const attachment = await loader.attachXdp(handle, { iface: b.name, netns: netns.path, mode: 'hw' });
  expect(attachment.tried.map(({ mode }) => mode)).toEqual(['hw']);
  expect(xdpOf(netns, b.name).mode).toBe('drv');
});

test('strict, and a list of modes, take nothing else', async () => {
  netns.upLoopback();
  const handle = await loadCounter();
  const at = { iface: 'lo', netns: netns.path };
  const strict = await rejection(loader.attachXdp(handle, { ...at, mode: 'drv', strict: true }));
  expect(strict).toMatchObject({ name: 'EbpfAttachError', code: 'EOPNOTSUPP', target: 'lo' });
  const listed = await rejection(loader.attachXdp(handle, { ...at, mode: ['hw', 'drv'] }));
  expect(listed).toMatchObject({ tried: [{ mode: 'hw' }, { mode: 'drv', code: 'EOPNOTSUPP' }] });
  expect(xdpOf(netns, 'lo')).toEqual({});
  await expect(loader.attachXdp(handle, { ...at, mode: [] })).rejects.toThrow(TypeError);
  await expect(loader.attachXdp(handle, { ...at, mode: 'fast' as 'drv' })).rejects.toThrow(/hw, drv or skb/);
});

test('attaching again where it is attached gives the same attachment', async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const handle = await loadCounter();
  const first = await loader.attachXdp(handle, at);
  expect(await loader.attachXdp(handle, { ...at, iface: b.ifindex })).toBe(first);
  expect(loader.getProgram(handle)?.attachments).toHaveLength(1);
});

test('a hook that another program holds is left alone, and the holder keeps counting', async () => {
  const { a, b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const holder = await loader.loadProgram(testObject('pass'));
  const mine = await loadCounter();
  const held = await loader.attachXdp(holder, at);
  const id = loader.getProgram(holder)?.program.id;
  const error = await rejection(loader.attachXdp(mine, at));
  expect(error).toBeInstanceOf(EbpfAttachError);
  expect(error).toMatchObject({
    code: 'EBUSY',
    target: b.name,
    holder: { programId: id, linkId: held.link.id, name: 'pass' },
  });
  expect((error as Error).message).toContain(`held by program ${id} "pass"`);
  expect(xdpOf(netns, b.name)).toEqual({ mode: 'drv', programId: id });
  await sendFrames([{ frame: udp4(), count: 100 }], { netns, iface: a.name, receiver: b.name });
  const passed = loader.getProgram(holder)?.object.map('passed').get(0) ?? new Uint8Array(8);
  expect(new DataView(passed.buffer).getBigUint64(0, true)).toBe(100n);
  // The kernel calls another mode on the same interface EEXIST.
  expect(await rejection(loader.attachXdp(mine, { ...at, mode: 'skb' }))).toMatchObject({
    code: 'EEXIST',
    holder: { programId: id },
  });
  expect(loader.getProgram(mine)?.state).toBe('loaded');
});

test('detach: nothing there, another one there', async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const one = await loadCounter();
  const two = await loader.loadProgram(testObject('pass'));
  expect(await loader.detachFromInterface(one, at)).toBe(false);
  expect(warnings).toEqual([expect.stringContaining('nothing of this loader is attached')]);

  await loader.attachXdp(one, at);
  expect(await rejection(loader.detachFromInterface(two, at))).toMatchObject({
    code: 'ERR_EBPF_NOT_ATTACHED',
  });
});

test('a hook that another program took over is not given up to us again', async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const one = await loadCounter();
  const two = await loader.loadProgram(testObject('pass'));
  await loader.attachXdp(one, { ...at, via: 'netlink' });
  const [ours, foreign] = [one, two].map(
    (handle) => (loader.getProgram(handle) ?? expect.unreachable()).program,
  );
  const thief = foreign?.attachXdp({ ...at, replace: { programId: ours?.id ?? 0 } });
  const error = await rejection(loader.detachFromInterface(one, at));
  expect(error).toMatchObject({ code: 'ERR_EBPF_REPLACED', holder: { programId: foreign?.id } });
  expect(await rejection(loader.unloadProgram(one, { force: true }))).toMatchObject({
    code: 'ERR_EBPF_REPLACED',
  });
  expect(xdpOf(netns, b.name).programId).toBe(foreign?.id);
  thief?.detach();
  expect(await loader.unloadProgram(one, { force: true })).toBe(true);
});

test('unload: unknown, still attached, forced', async () => {
  const { b } = netns.addVeth();
  expect(await loader.unloadProgram('nothing-1')).toBe(false);
  expect(warnings).toHaveLength(1);
  const handle = await loadCounter();
  await loader.attachXdp(handle, { iface: b.name, netns: netns.path });
  const id = loader.getProgram(handle)?.program.id ?? 0;
  const error = await rejection(loader.unloadProgram(handle));
  expect(error).toMatchObject({ code: 'ERR_EBPF_STILL_ATTACHED', target: b.name });
  expect(xdpOf(netns, b.name).programId).toBe(id);
  expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
  expect(xdpOf(netns, b.name)).toEqual({});
  expect(programExists(id)).toBe(false);
});

test('an interface that is down is set up by the loader, with a warning, unless told not to', async () => {
  const { b } = netns.addVeth({ up: false });
  const handle = await loadCounter();
  const at = { iface: b.name, netns: netns.path };
  expect(await rejection(loader.attachXdp(handle, { ...at, bringUp: false }))).toMatchObject({
    code: 'ERR_EBPF_INTERFACE_DOWN',
  });
  expect(xdpOf(netns, b.name)).toEqual({});
  await loader.attachXdp(handle, at);
  expect(warnings).toEqual([expect.stringContaining(b.name)]);
  expect(netns.ip('link', 'show', 'dev', b.name)).toMatch(/<[^>]*\bUP\b/);
});

test('an interface that vanishes takes the attachment along', async () => {
  const { a, b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const handle = await loadCounter();
  const { link } = await loader.attachXdp(handle, at);
  netns.ip('link', 'delete', a.name);
  expect(link.state()).toBe('detached');
  expect(await loader.detachFromInterface(handle, at)).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('from outside')]);
  expect(await loader.unloadProgram(handle)).toBe(true);
});

test('a link that the caller closed is attached anew, and its detach is a warning', async () => {
  const { b } = netns.addVeth();
  const at = { iface: b.name, netns: netns.path };
  const handle = await loadCounter();
  const first = await loader.attachXdp(handle, at);
  first.link.close();
  expect(xdpOf(netns, b.name)).toEqual({});
  const second = await loader.attachXdp(handle, at);
  expect(second).not.toBe(first);
  expect(xdpOf(netns, b.name).mode).toBe('drv');
  second.link.close();
  expect(await loader.detachFromInterface(handle, at)).toBe(true);
  expect(warnings).toEqual([expect.stringContaining('from outside')]);
});

test('unknown handles, interfaces and namespaces have near names and hints', async () => {
  netns.addVeth();
  const handle = await loadCounter();
  expect(await rejection(loader.attachToInterface('xdp_counter', 'lo'))).toMatchObject({
    code: 'ERR_EBPF_NOT_LOADED',
    hint: expect.stringContaining(handle),
  });
  expect(await rejection(loader.attachXdp(handle, { iface: 'v0c', netns: netns.path }))).toMatchObject({
    code: 'ERR_EBPF_NO_INTERFACE',
    hint: expect.stringMatching(/^there are v0[ab], v0[ab]/),
  });
  expect(
    await rejection(loader.attachXdp(handle, { iface: 'lo', netns: '/run/netns/not-there' })),
  ).toMatchObject({
    code: 'ENOENT',
  });
  expect(
    await rejection(loader.attachXdp(handle, { iface: 'lo', netns: '/proc/self/status' })),
  ).toMatchObject({
    code: 'EINVAL',
  });
  await expect(loader.attachXdp(handle, { iface: 'lo', netns: `${netns.path}\0` })).rejects.toThrow();
});

test('which program of a file is meant', async () => {
  const two = testObject('two_programs');
  expect(await rejection(loader.loadProgram(two, ProgramType.XDP))).toMatchObject({
    code: 'ERR_EBPF_AMBIGUOUS',
    message: expect.stringContaining('first (xdp), second (xdp)'),
  });
  const handle = await loader.loadProgram(two, ProgramType.XDP, { program: 'second' });
  expect(loader.getProgram(handle)?.program.name).toBe('second');
  expect(await rejection(loader.loadProgram(two, undefined, { program: 'third' }))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
});

test('a file of another type than declared is refused before anything is loaded', async () => {
  const error = await rejection(loader.loadProgram(testObject('tracepoint'), ProgramType.XDP));
  expect(error).toMatchObject({
    name: 'EbpfLoadError',
    code: 'ERR_EBPF_PROGRAM_TYPE',
    hint: expect.stringContaining('raw_tracepoint'),
  });
  const handle = await loader.loadProgram(testObject('tracepoint'), ProgramType.RAW_TRACEPOINT);
  expect(await rejection(loader.attachToInterface(handle, 'lo'))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
});

test('the verifier’s refusal names the program and keeps the log', async () => {
  const error = await rejection(loader.loadProgram(testObject('refused')));
  expect(error).toMatchObject({
    name: 'EbpfLoadError',
    code: 'EACCES',
    program: 'refused',
    summary: expect.stringContaining('outside of the packet'),
    verifierLog: expect.stringContaining('refused.bpf.c:'),
  });
});

test('paths stay inside programsDir', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-'));
  try {
    copyFileSync(shippedObject('xdp_counter'), join(folder, 'inside.bpf.o'));
    symlinkSync(shippedObject('xdp_counter'), join(folder, 'leads-out.bpf.o'));
    await using confined = new EbpfLoader({ programsDir: folder });
    expect(await confined.loadProgram('inside.bpf.o')).toBe('xdp_counter-1');
    for (const path of ['leads-out.bpf.o', shippedObject('xdp_counter'), '../../bin/true']) {
      expect(await rejection(confined.loadProgram(path))).toMatchObject({
        findings: [{ rule: 'file-outside' }],
      });
    }
    expect(await rejection(confined.loadProgram('absent.bpf.o'))).toMatchObject({
      findings: [{ rule: 'file-missing' }],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('close detaches and unloads everything; afterwards nothing goes', async () => {
  const { b } = netns.addVeth();
  const handle = await loadCounter();
  await loader.attachXdp(handle, { iface: b.name, netns: netns.path });
  const id = loader.getProgram(handle)?.program.id ?? 0;
  await loader.close();
  await loader.close();
  expect(xdpOf(netns, b.name)).toEqual({});
  expect(programExists(id)).toBe(false);
  await expect(loadCounter()).rejects.toThrow(EbpfStateError);
});

test('a signal that is aborted before or during the load leaves nothing loaded', async () => {
  const reason = new Error('enough');
  const early = loader.loadProgram(shippedObject('xdp_counter'), undefined, {
    signal: AbortSignal.abort(reason),
  });
  expect(await rejection(early)).toBe(reason);
  const controller = new AbortController();
  const late = loader.loadProgram(shippedObject('xdp_counter'), undefined, { signal: controller.signal });
  setImmediate(() => controller.abort(reason));
  expect(await rejection(late)).toBe(reason);
  expect(loader.listLoadedPrograms()).toEqual([]);
});
