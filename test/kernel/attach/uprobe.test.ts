import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { EbpfAttachError } from '../../../lib/core/errors.ts';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import type { BpfMap } from '../../../lib/map/map.ts';
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
import { ProbedProgram } from '../../helpers/probed.ts';

const [COOKIE_ROW, ROW, BY_UPROBE, BY_URETPROBE, BY_MULTI] = [1, 11, 12, 13, 14] as const;
// Where the SEC() of the test's objects say.
const NAMED = '/tmp/node-ebpf-probed';
const programs = testObject('probes');
const usdts = testObject('usdt');

let before: Snapshot;
let probed: ProbedProgram;
let object: BpfObject;
beforeAll(async () => {
  before = snapshotIds(['on_uprobe', 'by_uprobe', 'by_uretprobe', 'on_usdt', 'by_usdt', 'probed', 'seen']);
  probed = new ProbedProgram();
  object = await loadObject(programs);
});
afterEach(endChildren);
afterAll(async () => {
  object.close();
  probed[Symbol.dispose]();
  await assertNothingLeft(before);
});

const count = (map: BpfMap, row: number) =>
  Number(new DataView((map.get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));
const hits = (row: number, work: () => void): number => {
  const from = count(object.map('probed'), row);
  work();
  return count(object.map('probed'), row) - from;
};

/** The link's fields, as bpftool has them; nothing before 5.15, which has no links of events. */
function linkOf(program: BpfProgram): { type?: string; prog_id?: number }[] {
  return linksOf([program.id]).map((id) => bpftool<{ type: string }>('link', 'show', 'id', `${id}`));
}

/** A running program, which turns as often as it is told. */
async function running(path: string) {
  const child = spawn(path, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid ?? 0,
    async turn(times: number) {
      child.stdin.write(`${times}\n`);
      expect((await lines.next()).value).toBe('done');
    },
    async end() {
      child.stdin.end();
      await new Promise((resolve) => child.once('close', resolve));
    },
  };
}

test.each([
  ['by symbol', { symbol: 'first' }],
  ['a static function', { symbol: 'hidden' }],
  ['at its return', { symbol: 'first', ret: true }],
])('a uprobe %s counts each call, and none after detach', (_, place) => {
  const program = object.program('on_uprobe');
  const fds = fdCount();
  const link = program.attachUprobe({ binary: probed.path, ...place });
  expect(fdCount()).toBe(fds + 1);
  expect(link).toMatchObject({ kind: 'perf_event', target: `${probed.path}:${place.symbol}` });
  expect(link.state()).toBe('attached');
  if (!kernelBefore('5.15')) expect(linkOf(program)).toMatchObject([{ type: 'perf_event' }]);
  expect(hits(ROW, () => probed.turn(123))).toBe(123);
  link.detach();
  expect(linkOf(program)).toEqual([]);
  expect(hits(ROW, () => probed.turn(5))).toBe(0);
  expect(fdCount()).toBe(fds);
});

/** The offset in the file, as nm and readelf have it. */
function offsetOf(path: string, symbol: string): number {
  const address = execFileSync('nm', [path], { encoding: 'utf8' }).match(
    new RegExp(`^(\\w+) . ${symbol}$`, 'm'),
  )?.[1];
  const text = execFileSync('readelf', ['-SW', path], { encoding: 'utf8' }).match(
    / \.text +\w+ +(\w+) (\w+)/,
  );
  return Number(`0x${address}`) - Number(`0x${text?.[1]}`) + Number(`0x${text?.[2]}`);
}

test('by offset in a stripped file, which has no symbol to name', () => {
  using stripped = new ProbedProgram(['-s']);
  const offset = offsetOf(probed.path, 'second'); // the linker lays both out alike
  const program = object.program('on_uprobe');
  expect(caught(() => program.attachUprobe({ binary: stripped.path, symbol: 'second' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_SYMBOL',
    target: 'second',
  });
  using link = program.attachUprobe({ binary: stripped.path, offset });
  expect(link.target).toBe(`${stripped.path}:0x${offset.toString(16)}`);
  expect(hits(ROW, () => stripped.turn(77))).toBe(77);
});

test('a stripped file’s dynamic symbols, and a place inside of a function', () => {
  using exported = new ProbedProgram(['-s', '-rdynamic']);
  const program = object.program('on_uprobe');
  using link = program.attachUprobe({ binary: exported.path, symbol: 'second', offset: 0 });
  expect(hits(ROW, () => exported.turn(31))).toBe(31);
  link.close();
  // The instruction after the first one.
  const code = execFileSync('objdump', ['-d', '--disassemble=first', probed.path], { encoding: 'utf8' });
  const addresses = [...code.matchAll(/^ +([\da-f]+):\t/gm)].map(([, at]) => Number(`0x${at}`));
  const offset = (addresses[1] ?? 0) - (addresses[0] ?? 0);
  expect(offset).toBeGreaterThan(0);
  using inside = program.attachUprobe({ binary: probed.path, symbol: 'first', offset });
  expect(inside.target).toBe(`${probed.path}:first+0x${offset.toString(16)}`);
  expect(hits(ROW, () => probed.turn(9))).toBe(9);
});

test('of one process, and of no other', async () => {
  const one = await running(probed.path);
  const other = await running(probed.path);
  const link = object
    .program('on_uprobe')
    .attachUprobe({ binary: probed.path, symbol: 'first', pid: one.pid });
  const from = count(object.map('probed'), ROW);
  await other.turn(50);
  await one.turn(7);
  expect(count(object.map('probed'), ROW) - from).toBe(7);
  link.close();
  await one.turn(7);
  expect(count(object.map('probed'), ROW) - from).toBe(7);
  await one.end();
  await other.end();
});

test('a function of a shared library, found by its name', async () => {
  const one = await running(probed.path);
  // getppid() is called once a turn.
  using link = object
    .program('on_uprobe')
    .attachUprobe({ binary: 'libc.so.6', symbol: 'getppid', pid: one.pid });
  expect(link.target).toMatch(/^\/.*\/libc\.so\.6:getppid$/);
  const from = count(object.map('probed'), ROW);
  await one.turn(64);
  expect(count(object.map('probed'), ROW) - from).toBe(64);
  await one.end();
});

test('node itself', () => {
  const options = { binary: realpathSync('/proc/self/exe'), symbol: 'uv_hrtime', pid: process.pid };
  using link = object.program('on_uprobe').attachUprobe(options);
  const called = hits(ROW, () => {
    for (let i = 0; i < 10; i++) process.hrtime();
  });
  expect(called).toBeGreaterThanOrEqual(10);
  link.close();
  expect(hits(ROW, () => void process.hrtime())).toBe(0);
});

testWith('attach cookie')('a uprobe’s cookie reaches the program', async () => {
  using own = await loadObject(programs, { programs: { on_cookie: { load: true } } });
  using _ = own.program('on_cookie').attachUprobe({ binary: probed.path, symbol: 'first', cookie: 41n });
  probed.turn(2);
  expect(count(own.map('probed'), COOKIE_ROW)).toBe(82);
});

test('a program that came from a pin, whose link is pinned in turn', async () => {
  using bpffs = new Bpffs();
  object.program('on_uprobe').pin(bpffs.at('program'));
  using again = BpfProgram.fromPin(bpffs.at('program'));
  const link = again.attachUprobe({ binary: probed.path, symbol: 'second' });
  expect(hits(ROW, () => probed.turn(3))).toBe(3);
  if (kernelBefore('5.15')) {
    link.close();
    return;
  }
  link.pin(bpffs.at('link'));
  link.close();
  expect(hits(ROW, () => probed.turn(4))).toBe(4);
  const { BpfLink } = await import('../../../lib/index.ts');
  BpfLink.fromPin(bpffs.at('link')).detach();
  await untilGone({ links: [link.id ?? 0] });
  expect(hits(ROW, () => probed.turn(5))).toBe(0);
});

/** Puts the program where SEC() says it is. */
function named(): Disposable {
  mkdirSync(NAMED);
  copyFileSync(probed.path, `${NAMED}/probed`);
  return { [Symbol.dispose]: () => rmSync(NAMED, { recursive: true }) };
}
const turnNamed = (times: number) => execFileSync(`${NAMED}/probed`, { input: `${times}\n`, stdio: 'pipe' });

test('uprobe and uretprobe by SEC()', () => {
  expect(caught(() => object.program('by_uprobe').attach())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ENOENT',
    target: `${NAMED}/probed`,
  });
  using _ = named();
  for (const [name, row] of [
    ['by_uprobe', BY_UPROBE],
    ['by_uretprobe', BY_URETPROBE],
  ] as const) {
    const link = object.program(name).attach();
    expect(link.target).toBe(`${NAMED}/probed:first`);
    expect(hits(row, () => turnNamed(6))).toBe(6);
    link.detach();
    expect(hits(row, () => turnNamed(6))).toBe(0);
  }
});

testWith('uprobe.multi')('uprobe.multi by SEC(), with a pattern', async () => {
  using own = await loadObject(programs, { programs: { by_uprobe_multi: { load: true } } });
  using _ = named();
  const link = own.program('by_uprobe_multi').attach();
  expect(linkOf(own.program('by_uprobe_multi'))).toHaveLength(1);
  turnNamed(8);
  expect(count(own.map('probed'), BY_MULTI)).toBe(8);
  link.detach();
  turnNamed(8);
  expect(count(own.map('probed'), BY_MULTI)).toBe(8);
});

const noPid = whyNot('USDT without pid') !== undefined;

test('a USDT probe gives its arguments, in every process or in one', async () => {
  using own = await loadObject(usdts);
  const fds = fdCount();
  const place = { binary: probed.path, provider: 'node_ebpf', name: 'turn' };
  const one = await running(probed.path);
  const other = await running(probed.path);
  const link = own.program('on_usdt').attachUsdt({ ...place, ...(noPid ? { pid: one.pid } : {}) });
  expect(link).toMatchObject({ kind: 'usdt', target: `${probed.path}:node_ebpf:turn` });
  expect(link.state()).toBe('attached');
  expect(caught(() => link.pin('/sys/fs/bpf/usdt'))).toMatchObject({ code: 'ERR_EBPF_NOT_PINNABLE' });
  await one.turn(10);
  expect([count(own.map('seen'), 0), count(own.map('seen'), 1)]).toEqual([10, 55]);
  link.detach();
  await one.turn(10);
  expect(count(own.map('seen'), 0)).toBe(10);
  const alone = own.program('on_usdt').attachUsdt({ ...place, pid: one.pid });
  await other.turn(20);
  await one.turn(1);
  expect(count(own.map('seen'), 0)).toBe(11);
  // The object goes first: it closes the link, and what the link held.
  own.close();
  expect(caught(() => alone.state())).toMatchObject({ name: 'EbpfStateError' });
  await one.end();
  await other.end();
  expect(fdCount()).toBeLessThan(fds);
});

testWith('USDT without pid')('USDT by SEC()', async () => {
  using own = await loadObject(usdts);
  using _ = named();
  const link = own.program('by_usdt').attach();
  turnNamed(4);
  expect(count(own.map('seen'), 2)).toBe(4);
  link.detach();
  turnNamed(4);
  expect(count(own.map('seen'), 2)).toBe(4);
});

test('what is not there is answered with what is', async () => {
  const program = object.program('on_uprobe');
  using own = await loadObject(usdts);
  const usdt = own.program('on_usdt');
  const fds = fdCount();
  const attach = (binary: string, symbol: string) => caught(() => program.attachUprobe({ binary, symbol }));
  const probe = (binary: string, provider: string, name: string) =>
    caught(() => usdt.attachUsdt({ binary, provider, name, pid: process.pid }));
  expect(attach(probed.path, 'frist')).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_SYMBOL',
    target: 'frist',
    hint: expect.stringMatching(/^there are .*first/),
  });
  expect(probe(probed.path, 'node_ebpf', 'trun')).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_USDT',
    target: 'node_ebpf:trun',
    hint: 'there are node_ebpf:turn',
  });
  for (const refused of [attach(`${probed.path}x`, 'first'), probe('no-such-program', 'a', 'b')]) {
    expect(refused).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
  }
  const text = `${probed.folder}/text`;
  writeFileSync(text, 'no program');
  for (const refused of [attach(text, 'first'), attach(probed.folder, 'first')]) {
    expect(refused).toMatchObject({ name: 'EbpfAttachError', code: 'ERR_EBPF_NOT_ELF' });
  }
  expect(probe(text, 'a', 'b')).toMatchObject({ name: 'EbpfAttachError' });
  const beyond = caught(() => program.attachUprobe({ binary: probed.path, offset: 2 ** 40 }));
  expect(beyond).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: expect.stringContaining('the end of the file'),
  });
  const nobody = Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1'));
  const gone = caught(() => program.attachUprobe({ binary: probed.path, symbol: 'first', pid: nobody }));
  expect(gone).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ESRCH',
    hint: `there is no process ${nobody}`,
  });
  // Since 5.15 the kernel finds the place of the file by itself, whenever the process maps it.
  if (noPid) {
    expect(probe(probed.path, 'node_ebpf', 'turn')).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ESRCH',
      hint: `process ${process.pid} has not mapped the file`,
    });
  }
  expect(linksOf([program.id, usdt.id])).toEqual([]);
  expect(fdCount()).toBe(fds);
});

test('of several functions of one name none is guessed: the error has their offsets', () => {
  const binary = join(probed.folder, 'twice');
  const same =
    '__attribute__((noinline)) static int same(int n) { __asm__ volatile("" : "+r"(n)); return n; }';
  const call = (times: number) => `for (int i = 0; i < ${times}; i++) same(i);`;
  const sources = {
    [`${binary}-1.c`]: `${same} void other(void); int main(void) { ${call(3)} other(); return 0; }`,
    [`${binary}-2.c`]: `${same} void other(void) { ${call(5)} }`,
  };
  for (const [path, text] of Object.entries(sources)) writeFileSync(path, text);
  execFileSync('gcc', ['-O1', '-o', binary, ...Object.keys(sources)]);
  const program = object.program('on_uprobe');
  const error = caught(() => program.attachUprobe({ binary, symbol: 'same' }));
  expect(error).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_AMBIGUOUS',
    target: 'same',
    hint: expect.stringMatching(/ 0x[0-9a-f]+, 0x[0-9a-f]+$/),
  });
  const offsets = (error as EbpfAttachError).hint?.match(/0x[0-9a-f]+/g) ?? [];
  const calls = offsets.map((offset) => {
    using _ = program.attachUprobe({ binary, offset: Number(offset) });
    return hits(ROW, () => execFileSync(binary));
  });
  expect(calls.sort()).toEqual([3, 5]);
});

test('bad arguments, other programs, closed ones', async () => {
  const program = object.program('on_uprobe');
  const fds = fdCount();
  const attach = (options: object) => caught(() => program.attachUprobe(options as never));
  const { path: binary } = probed;
  expect(attach({ binary })).toBeInstanceOf(TypeError);
  expect(attach({ binary: 7, symbol: 'first' })).toBeInstanceOf(TypeError);
  expect(attach({ binary, symbol: '' })).toBeInstanceOf(TypeError);
  expect(attach({ binary, symbol: 'first', offset: -1 })).toBeInstanceOf(RangeError);
  expect(attach({ binary, symbol: 'first', offset: 1.5 })).toBeInstanceOf(RangeError);
  for (const pid of [0, -1, 1.5, 2 ** 31])
    expect(attach({ binary, symbol: 'first', pid })).toBeInstanceOf(RangeError);
  if (!kernelBefore('5.15'))
    expect(attach({ binary, symbol: 'first', cookie: -1n })).toBeInstanceOf(RangeError);
  using traced = await loadObject(testObject('traced'));
  const raw = traced.program('raw_enter');
  expect(caught(() => raw.attachUprobe({ binary, symbol: 'first' }))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => raw.attachUsdt({ binary, provider: 'node_ebpf', name: 'turn' }))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => program.attachUsdt({ binary, provider: '', name: 'turn' }))).toBeInstanceOf(TypeError);
  using opened = BpfProgram.fromId(program.id);
  expect(caught(() => opened.attachUsdt({ binary, provider: 'node_ebpf', name: 'turn' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_OBJECT',
  });
  opened.close();
  expect(caught(() => opened.attachUprobe({ binary, symbol: 'first' }))).toMatchObject({
    name: 'EbpfStateError',
  });
  traced.close();
  expect(fdCount()).toBe(fds);
});

test('without CAP_PERFMON a uprobe is refused, and the error names it', async () => {
  using bpffs = new Bpffs();
  object.program('on_uprobe').pin(bpffs.at('program'));
  const child = runModule(
    `const program = ebpf.BpfProgram.fromPin(${JSON.stringify(bpffs.at('program'))});
     try { program.attachUprobe(${JSON.stringify({ binary: probed.path, symbol: 'first' })}).close(); console.log('attached'); }
     catch ({ name, missing }) { console.log(name + ' ' + missing); }`,
    { prefix: ['setpriv', '--bounding-set=-perfmon,-sys_admin'] },
  );
  expect(await child.line()).toBe('EbpfPermissionError CAP_PERFMON');
});

test('at every number of free descriptors a probe attaches or leaves nothing', async () => {
  const options = JSON.stringify({ binary: probed.path, symbol: 'first' });
  const one = await running(probed.path);
  const pid = noPid ? { pid: one.pid } : {};
  const usdt = JSON.stringify({ binary: probed.path, provider: 'node_ebpf', name: 'turn', ...pid });
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const object = await ebpf.loadObject(${JSON.stringify(programs)});
     const usdts = await ebpf.loadObject(${JSON.stringify(usdts)});
     const ways = [() => object.program('on_uprobe').attachUprobe(${options}),
       () => usdts.program('on_usdt').attachUsdt({ ...${usdt}, pid: process.pid })];
     for (const way of ways.slice(0, 1)) way().detach();
     const before = fds();
     const outcomes = [];
     for (const way of ways) for (let free = 0; free < 12; free++) {
       const taken = [];
       try { for (;;) taken.push(openSync('/dev/null')); } catch {}
       for (const fd of taken.splice(0, free)) closeSync(fd);
       try { way().detach(); outcomes.push('attached'); }
       catch ({ code }) { outcomes.push(code); }
       for (const fd of taken) closeSync(fd);
       if (fds() !== before) { outcomes.push(free + ' free: ' + (fds() - before) + ' lost'); break; }
     }
     console.log(JSON.stringify([...new Set(outcomes)]));
     object.close(); usdts.close();`,
    { prefix: ['prlimit', '--nofile=128'] },
  );
  const seen = JSON.parse(await child.line()) as string[];
  expect(seen.filter((outcome) => outcome.endsWith('lost'))).toEqual([]);
  expect(seen).toContain('EMFILE');
  expect(seen).toContain('attached');
  expect((await child.ended()).status).toBe(0);
});

test('a worker that is terminated takes its probes along', async () => {
  const library = JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href);
  const options = JSON.stringify({ binary: probed.path, symbol: 'first' });
  const one = await running(probed.path);
  const pid = noPid ? { pid: one.pid } : {};
  const usdt = JSON.stringify({ binary: probed.path, provider: 'node_ebpf', name: 'turn', ...pid });
  const child = runModule(`
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(\`
      import(${library}).then(async (ebpf) => {
        const object = await ebpf.loadObject(${JSON.stringify(programs)});
        const usdts = await ebpf.loadObject(${JSON.stringify(usdts)});
        object.program('on_uprobe').attachUprobe(${options});
        usdts.program('on_usdt').attachUsdt(${usdt});
        (await import('node:worker_threads')).parentPort.postMessage([
          object.program('on_uprobe').id, usdts.program('on_usdt').id,
        ]);
        setInterval(() => {}, 1000);
      });\`, { eval: true });
    console.log(JSON.stringify(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    await worker.terminate();
    console.log('terminated');
    process.stdin.resume();`);
  const ids = JSON.parse(await child.line()) as number[];
  if (!kernelBefore('5.15')) expect(linksOf(ids).length).toBeGreaterThanOrEqual(1);
  child.process.stdin?.write('\n');
  expect(await child.line()).toBe('terminated');
  await untilGone({ programs: ids });
  await one.end();
});

test('nothing is left where SEC() said', () => expect(existsSync(NAMED)).toBe(false));
