import { existsSync, mkdtempSync, readFileSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { EbpfAttachError, EbpfStateError } from '../../../lib/core/errors.ts';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { EbpfLoader } from '../../../lib/loader/loader.ts';
import type { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  fdCount,
  linkIds,
  linksOf,
  programIds,
  type Snapshot,
  snapshotIds,
  untilGone,
} from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const KPROBES = existsSync('/sys/bus/event_source/devices/kprobe');
const traced = testObject('traced');
const hits = (map: BpfMap, row: number) =>
  new DataView((map.get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true);

/** Whether the program in `row` runs: it counts system calls, and this makes some. */
function counts(object: BpfObject, row: number): boolean {
  const from = hits(object.map('hits'), row);
  readFileSync('/proc/self/status');
  return hits(object.map('hits'), row) > from;
}

test.each([
  ['raw_enter', 0, 'raw_tp/sys_enter'],
  ['btf_enter', 1, 'tp_btf/sys_enter'],
])('attach() by SEC(): %s', async (name, row, section) => {
  const object = await loadObject(traced);
  const fds = fdCount();
  const program = object.program(name);
  expect(program.section).toBe(section);
  expect(counts(object, row)).toBe(false);
  const link = program.attach();
  expect(fdCount()).toBe(fds + 1);
  expect(link).toMatchObject({ owner: 'fd', kind: 'raw_tracepoint' });
  expect(linkIds().has(link.id ?? 0)).toBe(true);
  expect(link.state()).toBe('attached');
  expect(counts(object, row)).toBe(true);
  expect(BpfLink.list()).toContainEqual(
    expect.objectContaining({ id: link.id, programId: program.id, target: 'sys_enter' }),
  );
  link.detach();
  expect(linkIds().has(link.id ?? 0)).toBe(false);
  expect(counts(object, row)).toBe(false);
  expect(fdCount()).toBe(fds);
  object.close();
  expect(caught(() => program.attach())).toBeInstanceOf(EbpfStateError);
});

test('the program’s object stays for a program that outlives its handle, and goes with it', async () => {
  const object = await loadObject(traced);
  const fds = fdCount();
  const link = object.program('btf_enter').attach();
  object.program('btf_enter').close();
  expect(counts(object, 1)).toBe(true);
  object.close();
  expect(caught(() => link.state())).toBeInstanceOf(EbpfStateError);
  expect(fdCount()).toBeLessThan(fds);
});

test('attachAll() attaches what its SEC() places, and leaves out the rest', async () => {
  using object = await loadObject(traced);
  const links = object.attachAll();
  expect(links).toHaveLength(2);
  expect([counts(object, 0), counts(object, 1)]).toEqual([true, true]);
  const ids = links.map((link) => link.id ?? 0);
  object.close();
  await untilGone({ links: ids });
  expect(caught(() => object.attachAll())).toBeInstanceOf(EbpfStateError);
});

test('attachAll() is all or nothing', async () => {
  using object = await loadObject(traced, { programs: { nowhere: { load: true } } });
  const fds = fdCount();
  const error = caught(() => object.attachAll());
  // The development machine is without CONFIG_KPROBES.
  expect(error).toMatchObject(
    KPROBES
      ? { name: 'EbpfAttachError', code: 'ERR_EBPF_NO_FUNCTION', target: 'node_ebpf_no_such_function' }
      : { name: 'EbpfNotSupportedError', feature: 'kprobes' },
  );
  expect(fdCount()).toBe(fds);
  expect(linksOf(Object.values(object.programs).map(({ id }) => id))).toEqual([]);
  expect([counts(object, 0), counts(object, 1)]).toEqual([false, false]);
});

test('a kprobe by SEC(): it counts, or the kernel has no kprobes and the error says so', async () => {
  using object = await loadObject(traced, { programs: { probe: { load: true } } });
  const program = object.program('probe');
  if (!KPROBES) {
    expect(caught(() => program.attach())).toMatchObject({
      name: 'EbpfNotSupportedError',
      feature: 'kprobes',
      code: 'ERR_EBPF_NOT_SUPPORTED',
      hint: expect.stringContaining('CONFIG_KPROBES'),
    });
    return;
  }
  const fds = fdCount();
  const link = program.attach();
  expect([link.kind, link.state()]).toEqual(['perf_event', 'attached']);
  const from = hits(object.map('hits'), 3);
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-kprobe-'));
  for (let i = 0; i < 5; i++) {
    writeFileSync(join(folder, 'file'), '');
    unlinkSync(join(folder, 'file'));
  }
  expect(hits(object.map('hits'), 3) - from).toBeGreaterThanOrEqual(5n); // others unlink files too
  link.detach();
  expect(fdCount()).toBe(fds);
  rmdirSync(folder);
});

test('a SEC() that says no place is refused with the call that takes one', async () => {
  using object = await loadObject(traced);
  expect(caught(() => object.program('unattached').attach())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_TARGET',
    message: 'attach unattached: SEC("xdp") does not name a target',
    hint: expect.stringContaining('attachXdp'),
  });
  using again = BpfProgram.fromId(object.program('raw_enter').id);
  expect(caught(() => again.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachRawTracepoint'),
  });
});

test('attachRawTracepoint() by name, also for a program that came from an id', async () => {
  using object = await loadObject(traced);
  using program = BpfProgram.fromId(object.program('raw_enter').id);
  const link = program.attachRawTracepoint('sys_enter');
  expect(link).toMatchObject({ kind: 'raw_tracepoint' });
  expect(counts(object, 0)).toBe(true);
  link.close();
  expect(counts(object, 0)).toBe(false);
  const fds = fdCount();
  expect(caught(() => program.attachRawTracepoint('sys_entre'))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_TRACEPOINT',
    target: 'sys_entre',
  });
  expect(fdCount()).toBe(fds);
});

test('a link without BPF_LINK_DETACH: pinned it stays, and detach() ends it', async () => {
  using bpffs = new Bpffs();
  using object = await loadObject(traced);
  const link = object.program('raw_enter').attach();
  link.pin(bpffs.at('link'));
  link.close();
  expect(counts(object, 0)).toBe(true);
  const found = BpfLink.fromPin(bpffs.at('link'));
  expect(found).toMatchObject({ id: link.id, kind: 'raw_tracepoint', owner: 'pinned' });
  found.detach();
  expect(bpffs.names()).toEqual([]);
  await untilGone({ links: [link.id ?? 0] });
  expect(counts(object, 0)).toBe(false);
});

test('an attached link is not collected', async () => {
  const { gc } = globalThis;
  if (!gc) expect.unreachable('the tests run with --expose-gc');
  using object = await loadObject(traced);
  (() => void object.program('btf_enter').attach())();
  for (let i = 0; i < 5; i++) {
    gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(counts(object, 1)).toBe(true);
});

test('without tracefs a tracepoint is not supported, and how to mount it is said', async () => {
  const child = runModule(
    `const object = await ebpf.loadObject(${JSON.stringify(traced)}, { programs: { tp_enter: { load: true } } });
     const program = object.program('tp_enter');
     const { readdirSync } = await import('node:fs');
     console.log('ready'); // the first line takes a descriptor of Node's own
     const fds = readdirSync('/proc/self/fd').length;
     const report = (work) => { try { work(); } catch ({ name, feature, hint }) { console.log(JSON.stringify([name, feature, hint])); } };
     report(() => program.attach());
     report(() => program.attachTracepoint('raw_syscalls', 'sys_enter'));
     report(() => program.attachTracepoint('..', 'id'));
     report(() => program.attachTracepoint('sched', 'a/b'));
     console.log(readdirSync('/proc/self/fd').length - fds);
     object.close();`,
    {
      // Debugfs mounts a tracefs of its own.
      prefix: ['unshare', '-m', 'sh', '-ec', 'umount -a -t tracefs,debugfs; exec "$@"', 'sh'],
    },
  );
  expect(await child.line()).toBe('ready');
  const refused = ['EbpfNotSupportedError', 'tracefs', 'mount -t tracefs tracefs /sys/kernel/tracing'];
  expect(JSON.parse(await child.line())).toEqual(refused);
  expect(JSON.parse(await child.line())).toEqual(refused);
  expect(JSON.parse(await child.line())).toEqual(['TypeError', null, null]);
  expect(JSON.parse(await child.line())).toEqual(['TypeError', null, null]);
  expect(await child.line()).toBe('0');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

// Some machines have it mounted, others not.
const TRACEFS = 'mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing';

/** A process with a tracefs. */
const withTracefs = (body: string, bpffs?: Bpffs) =>
  runModule(
    `const { readFileSync } = await import('node:fs');
     const object = await ebpf.loadObject(${JSON.stringify(traced)}, { programs: { tp_enter: { load: true } } });
     const program = object.program('tp_enter');
     const row = () => new DataView(object.map('hits').get(2).buffer).getBigUint64(0, true);
     const counts = () => { const from = row(); readFileSync('/proc/self/status'); return row() > from; };
     const path = ${JSON.stringify(bpffs?.at('link') ?? '')};
     ${body}`,
    {
      prefix: ['unshare', '-m', 'sh', '-ec', `${TRACEFS}; exec "$@"`, 'sh'],
    },
  );

test('a tracepoint: by SEC() and by name, with one descriptor, until it is detached', async () => {
  const child = withTracefs(`
    const { readdirSync } = await import('node:fs');
    const fds = () => readdirSync('/proc/self/fd').length;
    const before = fds();
    const seen = [];
    const cookie = ${kernelBefore('5.15') ? '{}' : '{ cookie: 7n }'};
    for (const attach of [() => program.attach(), () => program.attachTracepoint('raw_syscalls', 'sys_enter', cookie)]) {
      const link = attach();
      seen.push(link.kind, link.state(), fds() - before, counts(), ebpf.BpfLink.list().find(({ id }) => id === link.id)?.target ?? 'no link');
      link.detach();
      seen.push(counts(), fds() - before);
    }
    console.log(JSON.stringify(seen));
    object.close();`);
  // The kernel names the event since 6.6, and has a link of it since 5.15.
  const target = kernelBefore('5.15') ? 'no link' : kernelBefore('6.6') ? '' : 'sys_enter';
  const once = ['perf_event', 'attached', 1, true, target, false, 0];
  expect(JSON.parse(await child.line())).toEqual([...once, ...once]);
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

if (kernelBefore('5.15')) {
  test('a kernel without cookies says so', async () => {
    const child = withTracefs(`
      try { program.attachTracepoint('raw_syscalls', 'sys_enter', { cookie: 7n }); }
      catch ({ name, feature, minKernel }) { console.log(name, feature, minKernel); }
      object.close();`);
    expect(await child.line()).toBe('EbpfNotSupportedError attach cookie 5.15');
  });
}

test('a tracepoint that is not there is answered with those that are', async () => {
  const child = withTracefs(`
    const report = (work) => { try { work(); } catch ({ name, code, hint }) { console.log(JSON.stringify([name, code, hint])); } };
    report(() => program.attachTracepoint('raw_syscalls', 'sys_entre'));
    report(() => program.attachTracepoint('raw_syscall', 'sys_enter'));
    report(() => object.program('raw_enter').attachRawTracepoint('sys_entre'));
    object.close();`);
  const no = (hint: string) => ['EbpfAttachError', 'ERR_EBPF_NO_TRACEPOINT', expect.stringContaining(hint)];
  expect(JSON.parse(await child.line())).toEqual(no('there are raw_syscalls/sys_enter'));
  expect(JSON.parse(await child.line())).toEqual(no('raw_syscalls/…'));
  expect(JSON.parse(await child.line())).toEqual(no('sys_enter'));
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

testWith('links of events')('a pinned tracepoint link runs on after close() and after kill -9', async () => {
  using bpffs = new Bpffs();
  const child = withTracefs(
    `const link = program.attach();
     link.pin(path);
     object.map('hits').pin(${JSON.stringify(bpffs.at('hits'))});
     link.close();
     console.log(counts(), link.id, program.id);
     process.stdin.resume();`,
    bpffs,
  );
  const [counting, linkId, programId] = (await child.line()).split(' ');
  expect(counting).toBe('true');
  child.process.kill('SIGKILL');
  await child.ended();
  const { BpfMap } = await import('../../../lib/index.ts');
  using map = BpfMap.fromPin(bpffs.at('hits'));
  const from = hits(map, 2);
  await until(() => hits(map, 2) > from);
  const link = BpfLink.fromPin(bpffs.at('link'));
  expect(link).toMatchObject({ id: Number(linkId), kind: 'perf_event' });
  link.detach();
  map.unpin();
  expect(bpffs.names()).toEqual([]);
  await untilGone({ links: [Number(linkId)], programs: [Number(programId)] });
});

test('a worker that is terminated takes its tracing links along', async () => {
  const child = runModule(`
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(\`
      import(\${JSON.stringify(${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)})}).then(async (ebpf) => {
        const object = await ebpf.loadObject(${JSON.stringify(traced)});
        const links = object.attachAll();
        (await import('node:worker_threads')).parentPort.postMessage([
          links.map((link) => link.id), Object.values(object.programs).map((program) => program.id),
        ]);
        setInterval(() => {}, 1000);
      });\`, { eval: true });
    console.log(JSON.stringify(await new Promise((resolve) => worker.once('message', resolve))));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    await worker.terminate();
    console.log('terminated');
    process.stdin.resume();`);
  const [links, programs] = JSON.parse(await child.line()) as [number[], number[]];
  expect(links.every((id) => linkIds().has(id))).toBe(true);
  child.process.stdin?.write('\n');
  expect(await child.line()).toBe('terminated');
  await untilGone({ links, programs });
});

test('without CAP_PERFMON a tracepoint is refused, and the error names it', async () => {
  using bpffs = new Bpffs();
  using object = await loadObject(traced, { programs: { tp_enter: { load: true } } });
  object.program('tp_enter').pin(bpffs.at('program'));
  const child = runModule(
    `const program = ebpf.BpfProgram.fromPin(${JSON.stringify(bpffs.at('program'))});
     try { program.attachTracepoint('raw_syscalls', 'sys_enter').close(); console.log('attached'); }
     catch ({ name, missing }) { console.log(name + ' ' + missing); }`,
    {
      prefix: [
        'unshare',
        '-m',
        'sh',
        '-ec',
        `${TRACEFS}; exec setpriv --bounding-set=-perfmon,-sys_admin "$@"`,
        'sh',
      ],
    },
  );
  expect(await child.line()).toBe('EbpfPermissionError CAP_PERFMON');
});

test('at every number of free descriptors attachAll() succeeds or leaves nothing', async () => {
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const object = await ebpf.loadObject(${JSON.stringify(traced)});
     for (const link of object.attachAll()) link.detach();
     const before = fds();
     const outcomes = [];
     for (let free = 0; free < 8; free++) {
       const taken = [];
       try { for (;;) taken.push(openSync('/dev/null')); } catch {}
       for (const fd of taken.splice(0, free)) closeSync(fd);
       try { for (const link of object.attachAll()) link.detach(); outcomes.push('attached'); }
       catch ({ code }) { outcomes.push(code); }
       for (const fd of taken) closeSync(fd);
       if (fds() !== before) { outcomes.push(free + ' free: ' + (fds() - before) + ' lost'); break; }
     }
     console.log(JSON.stringify([...new Set(outcomes)]));
     object.close();`,
    { prefix: ['prlimit', '--nofile=128'] },
  );
  expect(JSON.parse(await child.line())).toEqual(['EMFILE', 'attached']);
  expect((await child.ended()).status).toBe(0);
});

test('the loader attaches by SEC(), once, and unloads', async () => {
  await using loader = new EbpfLoader();
  const events: string[] = [];
  loader.on('attached', ({ hook }) => events.push(`attached ${hook}`));
  loader.on('detached', ({ hook }) => events.push(`detached ${hook}`));
  const handle = await loader.loadProgram(traced, 'raw_tracepoint');
  const attachment = await loader.attach(handle);
  expect(attachment).toMatchObject({ handle, hook: 'raw_tracepoint', tried: [] });
  expect(await loader.attach(handle)).toBe(attachment);
  const loaded = loader.getProgram(handle);
  if (!loaded) return expect.unreachable();
  expect(loaded.state).toBe('attached');
  expect(counts(loaded.object, 0)).toBe(true);
  expect(await rejection(loader.unloadProgram(handle))).toMatchObject({
    code: 'ERR_EBPF_STILL_ATTACHED',
    message: expect.stringContaining('raw_tp/sys_enter'),
  });
  expect(await loader.unloadProgram(handle, { force: true })).toBe(true);
  expect(programIds().has(loaded.program.id)).toBe(false);
  expect(events).toEqual(['attached raw_tracepoint', 'detached raw_tracepoint']);
  const xdp = await loader.loadProgram(traced, 'xdp');
  expect(await rejection(loader.attach(xdp))).toBeInstanceOf(EbpfAttachError);
});
