import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith, whyNot } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  linksOf,
  type Snapshot,
  snapshotIds,
  untilGone,
} from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';
import { until } from '../../helpers/until.ts';

const path = testObject('sampled');
/** Descriptors of events, and of links of them. */
const OURS = /bpf|perf_event/;
const CLOCK = { event: 'cpu-clock', frequency: 500 } as const;
const cpus = (readFileSync('/proc/stat', 'latin1').match(/^cpu\d+/gm) ?? []).map((cpu) =>
  Number(cpu.slice(3)),
);

let before: Snapshot;
let object: BpfObject;
beforeAll(async () => {
  before = snapshotIds(['on_sample', 'samples']);
  object = await loadObject(path, { globals: { process: process.pid } });
});
afterEach(endChildren);
afterAll(async () => {
  object.close();
  await assertNothingLeft(before);
});

/** What a row has, by CPU. */
function samples(of = object, row = 0): number[] {
  const bytes = of.map('samples').get(row) ?? new Uint8Array();
  return [...new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)].map(Number);
}
const total = (of = object, row = 0) => samples(of, row).reduce((sum, count) => sum + count, 0);

/** A process that keeps a CPU busy, on one if that is named. */
function busy(cpu?: number, threads = 1): { pid: number; [Symbol.dispose](): void } {
  const work = `
import threading
def spin():
    while True: pass
for _ in range(${threads - 1}): threading.Thread(target=spin, daemon=True).start()
spin()`;
  const python = ['/usr/bin/python3', '-c', work];
  const [command = '', ...rest] = cpu === undefined ? python : ['taskset', '-c', `${cpu}`, ...python];
  const child = spawn(command, rest, { stdio: 'ignore' });
  return { pid: child.pid ?? 0, [Symbol.dispose]: () => void child.kill('SIGKILL') };
}

/** Events that are under way are done once every CPU has been through the scheduler: nothing comes after that. */
async function still(read: () => number): Promise<void> {
  let last = read();
  let same = 0;
  await until(() => {
    same = read() === last ? same + 1 : 0;
    last = read();
    return same > 20;
  });
}

test('samples every CPU, with one link that ends all of them', async () => {
  const program = object.program('on_sample');
  const fds = fdCount(process.pid, OURS);
  const link = program.attachPerfEvent(CLOCK);
  expect(fdCount(process.pid, OURS)).toBe(fds + cpus.length);
  expect(link).toMatchObject({ kind: 'perf_event', owner: 'fd', target: 'cpu-clock' });
  expect(link.state()).toBe('attached');
  if (!kernelBefore('5.15')) {
    const shown = linksOf([program.id]).map((id) => bpftool<{ type: string }>('link', 'show', 'id', `${id}`));
    expect(shown).toHaveLength(cpus.length);
    for (const each of shown) expect(each).toMatchObject({ type: 'perf_event', prog_id: program.id });
  }
  const from = samples();
  const workers = cpus.map((cpu) => busy(cpu));
  await until(() => cpus.every((cpu) => (samples()[cpu] ?? 0) > (from[cpu] ?? 0)));
  link.detach();
  for (const worker of workers) expect(() => process.kill(worker.pid, 0)).not.toThrow(); // still at it
  await still(() => total());
  for (const worker of workers) worker[Symbol.dispose]();
  expect(linksOf([program.id])).toEqual([]);
  expect(caught(() => link.state())).toMatchObject({ name: 'EbpfStateError' });
  expect(fdCount(process.pid, OURS)).toBe(fds);
});

test('of one CPU alone, by a link that can be pinned', async () => {
  using bpffs = new Bpffs();
  const program = object.program('on_sample');
  const cpu = cpus.at(-1) ?? 0;
  using _ = busy(cpu);
  const from = samples();
  const link = program.attachPerfEvent({ ...CLOCK, cpu });
  expect(link.target).toBe(`cpu-clock on CPU ${cpu}`);
  await until(() => (samples()[cpu] ?? 0) > (from[cpu] ?? 0));
  for (const other of cpus.filter((each) => each !== cpu)) expect(samples()[other]).toBe(from[other]);
  if (kernelBefore('5.15')) {
    expect(caught(() => link.pin(bpffs.at('link')))).toMatchObject({ code: 'ERR_EBPF_NOT_PINNABLE' });
    link.close();
    return;
  }
  link.pin(bpffs.at('link'));
  link.close();
  const pinned = samples()[cpu] ?? 0;
  await until(() => (samples()[cpu] ?? 0) > pinned);
  BpfLink.fromPin(bpffs.at('link')).detach();
  await untilGone({ links: [link.id ?? 0] });
  await still(() => total());
});

test('of one process with its threads, and of no other', async () => {
  const threads = 3;
  using one = busy(undefined, threads);
  using _ = busy();
  await until(() => (threadCount(one.pid) ?? 0) === threads);
  using own = await loadObject(path, { globals: { process: one.pid } });
  const fds = fdCount(process.pid, OURS);
  const link = own.program('on_sample').attachPerfEvent({ ...CLOCK, pid: one.pid });
  expect(link.target).toBe(`cpu-clock of process ${one.pid}`);
  expect(fdCount(process.pid, OURS)).toBe(fds + threads);
  await until(() => total(own) > 20);
  link.close();
  await still(() => total(own));
  expect(total(own, 1)).toBe(total(own, 0));
});

testWith('samples of later threads')('threads that a process starts later are sampled too', async () => {
  // Its first thread waits all the time, and a clock of a thread stands still meanwhile.
  const work = `
import sys, threading
def spin():
    while True: pass
print('waiting', flush=True)
sys.stdin.readline()
threading.Thread(target=spin, daemon=True).start()
sys.stdin.readline()`;
  const child = spawn('/usr/bin/python3', ['-c', work], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  using own = await loadObject(path, { globals: { process: child.pid ?? 0 } });
  using _ = own.program('on_sample').attachPerfEvent({ ...CLOCK, pid: child.pid ?? 0 });
  child.stdin.write('\n');
  await until(() => total(own, 1) > 20);
  child.kill('SIGKILL');
});

const threadCount = (pid: number) =>
  Number(/^Threads:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);

test('a link of many events is neither updated nor pinned, and ends with its worker', async () => {
  if (cpus.length > 1) {
    using bpffs = new Bpffs();
    using link = object.program('on_sample').attachPerfEvent(CLOCK);
    expect(caught(() => link.pin(bpffs.at('link')))).toMatchObject({ code: 'ERR_EBPF_NOT_PINNABLE' });
    expect(caught(() => link.update(object.program('on_sample')))).toMatchObject({ code: 'EOPNOTSUPP' });
    expect(link.state()).toBe('attached');
  }
  const library = JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href);
  const child = runModule(`
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(\`
      import(${library}).then(async (ebpf) => {
        const program = (await ebpf.loadObject(${JSON.stringify(path)})).program('on_sample');
        program.attachPerfEvent({ event: 'cpu-clock', frequency: 50 });
        (await import('node:worker_threads')).parentPort.postMessage(program.id);
        setInterval(() => {}, 1000);
      });\`, { eval: true });
    console.log(await new Promise((resolve) => worker.once('message', resolve)));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    await worker.terminate();
    console.log('terminated');
    process.stdin.resume();`);
  const id = Number(await child.line());
  if (!kernelBefore('5.15')) expect(linksOf([id])).toHaveLength(cpus.length);
  child.process.stdin?.write('\n');
  expect(await child.line()).toBe('terminated');
  await untilGone({ programs: [id] });
});

test('a program that came from an id', async () => {
  using again = BpfProgram.fromId(object.program('on_sample').id);
  using _ = again.attachPerfEvent(CLOCK);
  const from = total();
  await until(() => total() > from);
});

for (const event of ['cycles', 'instructions'] as const) {
  testWith('hardware counters')(`${event}`, async () => {
    using _ = object.program('on_sample').attachPerfEvent({ event, frequency: 500 });
    const from = total();
    await until(() => total() > from);
  });
}
if (whyNot('hardware counters') !== undefined) {
  test('a machine without hardware counters says so', () => {
    const fds = fdCount(process.pid, OURS);
    for (const event of ['cycles', 'instructions'] as const) {
      expect(
        caught(() => object.program('on_sample').attachPerfEvent({ event, frequency: 99 })),
      ).toMatchObject({
        name: 'EbpfNotSupportedError',
        feature: 'hardware counters',
        hint: expect.stringContaining('cpu-clock'),
      });
    }
    expect(fdCount(process.pid, OURS)).toBe(fds);
  });
}

test('bad arguments, no such process or CPU, too high a frequency', async () => {
  const program = object.program('on_sample');
  const fds = fdCount(process.pid, OURS);
  const attach = (options: object) =>
    caught(() => program.attachPerfEvent({ ...CLOCK, ...options } as never));
  expect(attach({ event: 'page-faults' })).toBeInstanceOf(TypeError);
  expect(attach({ event: 'toString' })).toBeInstanceOf(TypeError);
  for (const frequency of [0, -1, 1.5, undefined, '9'])
    expect(attach({ frequency })).toBeInstanceOf(RangeError);
  for (const cpu of [-1, 1.5]) expect(attach({ cpu })).toBeInstanceOf(RangeError);
  for (const pid of [0, -1]) expect(attach({ pid })).toBeInstanceOf(RangeError);
  expect(attach({ cpu: 100_000 })).toMatchObject({
    name: 'EbpfAttachError',
    hint: expect.stringContaining('is not online'),
  });
  const nobody = Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1'));
  expect(attach({ pid: nobody })).toMatchObject({ name: 'EbpfAttachError', code: 'ESRCH' });
  const most = Number(readFileSync('/proc/sys/kernel/perf_event_max_sample_rate', 'latin1'));
  expect(attach({ frequency: most + 1 })).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: `kernel.perf_event_max_sample_rate is ${most}`,
  });
  using traced = await loadObject(testObject('traced'));
  expect(caught(() => traced.program('raw_enter').attachPerfEvent(CLOCK))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => program.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachPerfEvent'),
  });
  traced.close();
  expect(linksOf([program.id])).toEqual([]);
  expect(fdCount(process.pid, OURS)).toBe(fds);
});

test('without CAP_PERFMON it is refused, and the error names it', async () => {
  using bpffs = new Bpffs();
  object.program('on_sample').pin(bpffs.at('program'));
  const child = runModule(
    `const program = ebpf.BpfProgram.fromPin(${JSON.stringify(bpffs.at('program'))});
     try { program.attachPerfEvent(${JSON.stringify(CLOCK)}).close(); console.log('attached'); }
     catch ({ name, missing }) { console.log(name + ' ' + missing); }`,
    { prefix: ['setpriv', '--bounding-set=-perfmon,-sys_admin'] },
  );
  expect(await child.line()).toBe('EbpfPermissionError CAP_PERFMON');
});
