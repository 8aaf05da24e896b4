import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { BpfIterator } from '../../../lib/attach/iterator.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith } from '../../helpers/features.ts';
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

const path = testObject('iterators');
const ENTRIES = 20_000;

let before: Snapshot;
let object: BpfObject;
beforeAll(async () => {
  before = snapshotIds(['each_task', 'no_task', 'each_element', 'walked', 'narrow']);
  object = await loadObject(path);
});
afterEach(endChildren);
afterAll(async () => {
  object.close();
  await assertNothingLeft(before);
});

async function all(iterator: BpfIterator): Promise<Uint32Array> {
  const parts: Uint8Array[] = [];
  for await (const part of iterator) parts.push(part);
  const bytes = Buffer.concat(parts);
  return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Nothing is open, and the kernel knows no link of them. */
async function ended(fds: number, ...more: BpfProgram[]): Promise<void> {
  expect(fdCount(process.pid, /bpf/)).toBe(fds);
  const programs = [...Object.values(object.programs), ...more];
  await untilGone({ links: linksOf(programs.map(({ id }) => id)) });
}

const open = () => fdCount(process.pid, /bpf/);

testWith('iter')('iter/task tells every process, this one among them', async () => {
  const fds = open();
  const pids = new Set(await all(object.program('each_task').openIterator()));
  const listed = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  expect(pids.has(process.pid)).toBe(true);
  expect(pids.has(process.ppid)).toBe(true);
  expect(pids.size).toBeGreaterThan(listed.length / 2); // others come and go
  await ended(fds);
});

testWith('iter of map elements')('each element comes once, in more than one piece', async () => {
  using elements = await loadObject(testObject('elements'));
  const walked = elements.map('walked');
  const keys = Uint32Array.from({ length: ENTRIES }, (_, i) => i);
  const values = keys.map((key) => key * 3);
  walked.setBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), ENTRIES);
  const fds = open();
  const program = elements.program('each_element');
  let pieces = 0;
  const iterator = program.openIterator({ map: walked });
  const [id] = linksOf([program.id]);
  expect(bpftool('link', 'show', 'id', `${id}`)).toMatchObject({
    type: 'iter',
    prog_id: program.id,
    target_name: 'bpf_map_elem',
    map_id: walked.id,
  });
  const parts: Uint8Array[] = [];
  for await (const part of iterator) {
    pieces++;
    expect(part.byteLength).toBeLessThanOrEqual(64 * 1024);
    parts.push(part);
  }
  const bytes = Buffer.concat(parts);
  const numbers = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  expect(pieces).toBeGreaterThan(1);
  expect(numbers.length).toBe(2 * ENTRIES);
  const seen = new Set<number>();
  for (let i = 0; i < numbers.length; i += 2) {
    expect(numbers[i + 1]).toBe((numbers[i] ?? 0) * 3);
    seen.add(numbers[i] ?? 0);
  }
  expect(seen.size).toBe(ENTRIES);
  await ended(fds, program);
});

testWith('iter')('a program that writes nothing, and a second pass', async () => {
  const fds = open();
  expect(await all(object.program('no_task').openIterator())).toHaveLength(0);
  const iterator = object.program('each_task').openIterator();
  expect((await all(iterator)).length).toBeGreaterThan(0);
  expect(await all(iterator)).toHaveLength(0); // it can be read once
  expect(await iterator.next()).toEqual({ done: true, value: undefined });
  await ended(fds);
});

testWith('iter')('break, an exception, return(), throw(), close() and `using` end it', async () => {
  const fds = open();
  const start = () => object.program('each_task').openIterator();
  for await (const _ of start()) break;
  await ended(fds);
  const failing = (async () => {
    for await (const _ of start()) throw new Error('mine');
  })();
  expect(await rejection(failing)).toMatchObject({ message: 'mine' });
  await ended(fds);
  const returned = start();
  expect((await returned.next()).done).toBe(false);
  expect(await returned.return()).toEqual({ done: true, value: undefined });
  await ended(fds);
  const thrown = start();
  expect(await rejection(thrown.throw(new Error('mine too')))).toMatchObject({ message: 'mine too' });
  await ended(fds);
  {
    using scoped = start();
    expect((await scoped.next()).done).toBe(false);
  }
  await ended(fds);
  const closed = start();
  const under = closed.next();
  closed.close();
  closed.close();
  expect(await under).toEqual({ done: true, value: undefined });
  expect(await closed.next()).toEqual({ done: true, value: undefined });
  await ended(fds);
});

testWith('iter')(
  'calls that do not wait get the pieces in order, and the object’s close ends them',
  async () => {
    const fds = open();
    const own = await loadObject(path);
    const iterator = own.program('each_task').openIterator();
    // Far fewer processes than there is room for in a piece.
    const [first, second, third] = await Promise.all([iterator.next(), iterator.next(), iterator.next()]);
    expect([first?.done, second?.done, third?.done]).toEqual([false, true, true]);
    const cut = own.program('each_task').openIterator();
    const pending = cut.next();
    own.close();
    await pending; // the kernel's answer, or the end
    expect(open()).toBe(fds);
    expect(await cut.next()).toEqual({ done: true, value: undefined });
    cut.close();
    expect(caught(() => own.program('each_task').openIterator())).toMatchObject({ name: 'EbpfStateError' });
  },
);

testWith('iter')('attach() by SEC() gives a link, and a pin of it is read like a file', async () => {
  using bpffs = new Bpffs();
  const link = object.program('each_task').attach();
  expect(link).toMatchObject({ kind: 'iter', target: 'task' });
  expect(link.state()).toBe('attached');
  link.pin(bpffs.at('tasks'));
  link.close();
  const bytes = readFileSync(bpffs.at('tasks'));
  const pids = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  expect([...pids]).toContain(process.pid);
  BpfLink.fromPin(bpffs.at('tasks')).detach();
  await untilGone({ links: [link.id ?? 0] });
});

testWith('iter')('a program that came from a pin', async () => {
  using bpffs = new Bpffs();
  object.program('each_task').pin(bpffs.at('program'));
  using again = BpfProgram.fromPin(bpffs.at('program'));
  expect([...(await all(again.openIterator()))]).toContain(process.pid);
});

testWith('iter')('what cannot be iterated is refused, and nothing stays', async () => {
  using traced = await loadObject(testObject('traced'));
  const fds = open();
  expect(caught(() => traced.program('raw_enter').openIterator())).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => traced.program('btf_enter').openIterator())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: expect.stringContaining('SEC("iter/…")'),
  });
  expect(caught(() => object.program('each_task').openIterator({ map: 7 as never }))).toBeInstanceOf(
    TypeError,
  );
  expect(open()).toBe(fds);
});

testWith('iter of map elements')('a map that is missing or too narrow is refused', async () => {
  using elements = await loadObject(testObject('elements'));
  const program = elements.program('each_element');
  const fds = open();
  expect(caught(() => program.openIterator())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EBADF',
    hint: expect.stringContaining('pass map'),
  });
  expect(caught(() => program.openIterator({ map: elements.map('narrow') }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EACCES',
    hint: expect.stringContaining('reads beyond'),
  });
  expect(open()).toBe(fds);
});

testWith('iter')('a worker that is terminated while it reads leaves nothing', async () => {
  const library = JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href);
  const child = runModule(`
    const { Worker } = await import('node:worker_threads');
    const { readdirSync } = await import('node:fs');
    const fds = () => readdirSync('/proc/self/fd').length;
    console.log('ready');
    const before = fds();
    for (let i = 0; i < 2; i++) {
      const worker = new Worker(\`
        import(${library}).then(async (ebpf) => {
          const object = await ebpf.loadObject(${JSON.stringify(path)});
          const { parentPort } = await import('node:worker_threads');
          parentPort.postMessage('reading');
          for (;;) for await (const _ of object.program('each_task').openIterator());
        });\`, { eval: true });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await worker.terminate();
    }
    console.log(fds() - before);`);
  expect(await child.line()).toBe('ready');
  expect(Number(await child.line())).toBeLessThanOrEqual(0);
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

testWith('iter')('at every number of free descriptors an iterator opens or leaves nothing', async () => {
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const object = await ebpf.loadObject(${JSON.stringify(path)});
     object.program('each_task').openIterator().close();
     const before = fds();
     const outcomes = [];
     for (let free = 0; free < 6; free++) {
       const taken = [];
       try { for (;;) taken.push(openSync('/dev/null')); } catch {}
       for (const fd of taken.splice(0, free)) closeSync(fd);
       try { object.program('each_task').openIterator().close(); outcomes.push('opened'); }
       catch ({ code }) { outcomes.push(code); }
       for (const fd of taken) closeSync(fd);
       if (fds() !== before) { outcomes.push(free + ' free: ' + (fds() - before) + ' lost'); break; }
     }
     console.log(JSON.stringify([...new Set(outcomes)]));
     object.close();`,
    { prefix: ['prlimit', '--nofile=128'] },
  );
  expect(JSON.parse(await child.line())).toEqual(['EMFILE', 'opened']);
  expect((await child.ended()).status).toBe(0);
});
