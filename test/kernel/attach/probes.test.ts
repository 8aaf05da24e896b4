import { mkdtempSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import type { BpfLink } from '../../../lib/link/link.ts';
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
} from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';

const path = testObject('probes');
const options = { globals: { process: process.pid } };

let before: Snapshot;
let object: BpfObject;
let folder: string;
beforeAll(async () => {
  before = snapshotIds([
    'on_kprobe',
    'by_kprobe',
    'by_kretprobe',
    'by_offset',
    'by_ksyscall',
    'by_kretsyscall',
    'probed',
  ]);
  object = await loadObject(path, options);
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-kprobe-'));
});
afterEach(endChildren);
afterAll(async () => {
  rmdirSync(folder);
  object.close();
  await assertNothingLeft(before);
});

const count = (map: BpfMap, row: number) =>
  Number(new DataView((map.get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));

/** How far a row goes while this process makes and unlinks files. */
function hits(row: number, unlinks: number, of = object): number {
  const from = count(of.map('probed'), row);
  for (let i = 0; i < unlinks; i++) {
    writeFileSync(join(folder, 'file'), '');
    unlinkSync(join(folder, 'file'));
  }
  return count(of.map('probed'), row) - from;
}

/** Counts while attached, by one descriptor and one link, and then no more. */
function counts(program: BpfProgram, row: number, attach: () => BpfLink, of = object): BpfLink {
  const fds = fdCount();
  const link = attach();
  expect(fdCount()).toBe(fds + 1);
  expect(link.state()).toBe('attached');
  if (!kernelBefore('5.15')) {
    const [shown] = linksOf([program.id]).map((id) =>
      bpftool<{ type: string }>('link', 'show', 'id', `${id}`),
    );
    expect(shown).toMatchObject({ id: link.id, type: link.kind, prog_id: program.id });
  }
  expect(hits(row, 7, of)).toBe(7);
  link.detach();
  expect(hits(row, 7, of)).toBe(0);
  expect(linksOf([program.id])).toEqual([]);
  expect(fdCount()).toBe(fds);
  return link;
}

testWith('kprobes')('attachKprobe() on a function, at its start and its return', () => {
  const program = object.program('on_kprobe');
  for (const ret of [false, true]) {
    const link = counts(program, 0, () => program.attachKprobe('do_unlinkat', { ret }));
    expect(link).toMatchObject({ kind: 'perf_event', target: 'do_unlinkat', owner: 'fd' });
  }
});

testWith('kprobes')('of several names the first that the kernel has', () => {
  const program = object.program('on_kprobe');
  const names = ['node_ebpf_no_such_function', 'filename_nowhere', 'do_unlinkat', 'do_rmdir'];
  const link = counts(program, 0, () => program.attachKprobe(names));
  expect(link.target).toBe('do_unlinkat');
});

testWith('kprobes')('attachSyscall() takes the arch’s own function', () => {
  const program = object.program('on_kprobe');
  for (const ret of [false, true]) {
    const link = counts(program, 0, () => program.attachSyscall('unlink', { ret }));
    expect(link.target).toMatch(/^__\w+_sys_unlink$/);
  }
});

const SECTIONS = [
  ['by_kprobe', 2, 'do_unlinkat'],
  ['by_kretprobe', 3, 'do_unlinkat'],
  ['by_offset', 4, 'do_unlinkat'],
  ['by_ksyscall', 5, expect.stringMatching(/sys_unlink$/)],
  ['by_kretsyscall', 6, expect.stringMatching(/sys_unlink$/)],
] as const;
for (const [name, row, target] of SECTIONS) {
  testWith('kprobes')(`by SEC(): ${name}`, () => {
    const program = object.program(name);
    expect(counts(program, row, () => program.attach()).target).toEqual(target);
  });
}

testWith('kprobes')('attachAll() attaches them, and uprobes, or none', async () => {
  // The test's object has uprobes of a program that is not there.
  const fds = fdCount();
  expect(caught(() => object.attachAll())).toMatchObject({ name: 'EbpfAttachError' });
  expect(linksOf(Object.values(object.programs).map(({ id }) => id))).toEqual([]);
  expect(fdCount()).toBe(fds);
});

testWith('attach cookie', 'kprobes')('a kprobe’s cookie reaches the program', async () => {
  const own = await loadObject(path, { ...options, programs: { on_cookie: { load: true } } });
  const program = own.program('on_cookie');
  const link = program.attachKprobe('do_unlinkat', { cookie: 2n ** 33n });
  expect(hits(1, 3, own)).toBe(3 * 2 ** 33);
  link.close();
  own.close();
});

testWith('kprobes')('without CAP_PERFMON a kprobe is refused, and the error names it', async () => {
  using bpffs = new Bpffs();
  object.program('on_kprobe').pin(bpffs.at('program'));
  const child = runModule(
    `const program = ebpf.BpfProgram.fromPin(${JSON.stringify(bpffs.at('program'))});
     try { program.attachKprobe('do_unlinkat').close(); console.log('attached'); }
     catch ({ name, missing }) { console.log(name + ' ' + missing); }`,
    { prefix: ['setpriv', '--bounding-set=-perfmon,-sys_admin'] },
  );
  expect(await child.line()).toBe('EbpfPermissionError CAP_PERFMON');
  expect(await child.ended()).toMatchObject({ status: 0 });
});

testWith('kprobes')('a program that came from a pin', () => {
  using bpffs = new Bpffs();
  object.program('on_kprobe').pin(bpffs.at('program'));
  using again = BpfProgram.fromPin(bpffs.at('program'));
  counts(again, 0, () => again.attachKprobe('do_unlinkat'));
});

testWith('kprobes')('a function that is not there is answered with those that are', () => {
  const program = object.program('on_kprobe');
  const fds = fdCount();
  expect(caught(() => program.attachKprobe('do_unlinkta'))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_FUNCTION',
    target: 'do_unlinkta',
    hint: expect.stringContaining('do_unlinkat'),
  });
  expect(caught(() => program.attachKprobe(['node_ebpf_none', 'node_ebpf_neither']))).toMatchObject({
    code: 'ERR_EBPF_NO_FUNCTION',
    target: 'node_ebpf_none, node_ebpf_neither',
  });
  expect(caught(() => program.attachSyscall('unlinkta'))).toMatchObject({
    code: 'ERR_EBPF_NO_FUNCTION',
    target: 'unlinkta',
    hint: expect.stringMatching(/\bunlinkat\b/),
  });
  // Within the function, and far outside of it.
  for (const offset of [2 ** 20]) {
    expect(caught(() => program.attachKprobe('do_unlinkat', { offset }))).toMatchObject({
      name: 'EbpfAttachError',
      target: `do_unlinkat+0x${offset.toString(16)}`,
    });
  }
  // What kprobes themselves run through.
  expect(caught(() => program.attachKprobe('kprobe_dispatcher'))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: expect.stringContaining('does not allow probes'),
  });
  expect(linksOf([program.id])).toEqual([]);
  expect(fdCount()).toBe(fds);
});

const MULTI = {
  programs: { on_multi: { load: true }, by_multi: { load: true }, by_multi_return: { load: true } },
};
const TRACEFS = 'mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing';

testWith('kprobe.multi')('attachKprobeMulti() on functions by name', async () => {
  using own = await loadObject(path, { ...options, ...MULTI });
  const program = own.program('on_multi');
  for (const ret of [false, true]) {
    const link = counts(
      program,
      7,
      () => program.attachKprobeMulti(['do_unlinkat', 'do_rmdir'], { ret }),
      own,
    );
    expect(link).toMatchObject({ kind: 'kprobe_multi', target: 'do_unlinkat, do_rmdir' });
  }
  using again = BpfProgram.fromId(program.id);
  counts(again, 7, () => again.attachKprobeMulti(['do_unlinkat']), own);
  const fds = fdCount();
  expect(caught(() => program.attachKprobeMulti(['do_unlinkat', 'do_unlinkta']))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_FUNCTION',
    target: 'do_unlinkta',
    hint: expect.stringContaining('do_unlinkat'),
  });
  expect(fdCount()).toBe(fds);
});

testWith('kprobe.multi')('each function’s cookie reaches the program', async () => {
  using own = await loadObject(path, { ...options, programs: { on_multi_cookie: { load: true } } });
  const program = own.program('on_multi_cookie');
  const unlink = ['do_unlinkat', '__x64_sys_unlink'];
  if (process.arch === 'x64') {
    using _ = program.attachKprobeMulti(unlink, { cookies: [100n, 1n] });
    expect(hits(10, 3, own)).toBe(303);
  }
  expect(caught(() => program.attachKprobeMulti(unlink, { cookies: [1n] }))).toBeInstanceOf(RangeError);
});

testWith('kprobe.multi')('by pattern and by SEC(), which takes tracefs', async () => {
  const child = runModule(
    `const { mkdtempSync, writeFileSync, unlinkSync, rmdirSync } = await import('node:fs');
     const object = await ebpf.loadObject(${JSON.stringify(path)}, { globals: { process: process.pid }, ...${JSON.stringify(MULTI)} });
     const folder = mkdtempSync('/tmp/node-ebpf-multi-');
     const count = (row) => Number(new DataView(object.map('probed').get(row).buffer).getBigUint64(0, true));
     const unlink = () => { writeFileSync(folder + '/x', ''); unlinkSync(folder + '/x'); };
     const seen = [];
     for (const [row, attach] of [
       [7, () => object.program('on_multi').attachKprobeMulti({ pattern: 'do_unlink?t' })],
       [8, () => object.program('by_multi').attach()],
       [9, () => object.program('by_multi_return').attach()],
     ]) {
       const link = attach();
       unlink();
       const during = count(row);
       link.detach();
       unlink();
       seen.push([link.kind, link.target, during, count(row)]);
     }
     try { object.program('on_multi').attachKprobeMulti({ pattern: 'node_ebpf_*' }); }
     catch ({ code, target }) { seen.push([code, target]); }
     rmdirSync(folder);
     console.log(JSON.stringify(seen));
     object.close();`,
    { prefix: ['unshare', '-m', 'sh', '-ec', `${TRACEFS}; exec "$@"`, 'sh'] },
  );
  expect(JSON.parse(await child.line())).toEqual([
    ['kprobe_multi', 'do_unlink?t', 1, 1],
    ['kprobe_multi', 'do_unlink*', 1, 1],
    ['kprobe_multi', 'do_unlinkat', 1, 1],
    ['ERR_EBPF_NO_FUNCTION', 'node_ebpf_*'],
  ]);
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});

// Whichever kernel it is: one of the two tests below runs.
if (whyNot('kprobes') !== undefined) {
  test('a kernel without kprobes says so', () => {
    const program = object.program('on_kprobe');
    const fds = fdCount();
    const refused = {
      name: 'EbpfNotSupportedError',
      feature: 'kprobes',
      hint: expect.stringContaining('CONFIG_KPROBES'),
    };
    expect(caught(() => program.attachKprobe('do_unlinkat'))).toMatchObject(refused);
    expect(caught(() => program.attachSyscall('unlink'))).toMatchObject(refused);
    expect(caught(() => object.program('by_ksyscall').attach())).toMatchObject(refused);
    expect(fdCount()).toBe(fds);
  });
}

if (whyNot('kprobe.multi') !== undefined) {
  test('a kernel without kprobe.multi says so', async () => {
    const fds = fdCount();
    // An ordinary kprobe's program: those of SEC("kprobe.multi") do not load before 5.18.
    const error = caught(() => object.program('on_kprobe').attachKprobeMulti(['do_unlinkat']));
    expect(error).toMatchObject({
      name: expect.stringMatching(/EbpfNotSupportedError|EbpfAttachError/),
      code: expect.stringMatching(/EINVAL|EOPNOTSUPP/),
    });
    if (!kernelBefore('5.18')) {
      using own = await loadObject(path, { ...options, ...MULTI });
      expect(caught(() => own.program('on_multi').attachKprobeMulti(['do_unlinkat']))).toMatchObject({
        name: 'EbpfNotSupportedError',
        feature: 'kprobe.multi',
        minKernel: '5.18',
      });
    }
    expect(fdCount()).toBe(fds);
  });
}

test('bad arguments, and programs of other types', async () => {
  const program = object.program('on_kprobe');
  using traced = await loadObject(testObject('traced'));
  const fds = fdCount();
  const attach = (fn: unknown, rest: object = {}) => caught(() => program.attachKprobe(fn as string, rest));
  for (const fn of ['', [], 7, ['a', ''], 'a b', undefined]) expect(attach(fn)).toBeInstanceOf(TypeError);
  for (const offset of [-1, 1.5, Number.NaN])
    expect(attach('do_unlinkat', { offset })).toBeInstanceOf(RangeError);
  expect(attach('do_unlinkat', { ret: true, offset: 4 })).toBeInstanceOf(TypeError);
  for (const name of ['', '../x', 7]) {
    expect(caught(() => program.attachSyscall(name as string))).toBeInstanceOf(TypeError);
  }
  for (const pattern of ['', 'a b', '(x)', 7]) {
    expect(caught(() => program.attachKprobeMulti({ pattern } as never))).toBeInstanceOf(TypeError);
  }
  expect(caught(() => program.attachKprobeMulti([]))).toBeInstanceOf(TypeError);
  expect(caught(() => program.attachKprobeMulti({ pattern: 'do_*' }, { cookies: [1n] }))).toBeInstanceOf(
    TypeError,
  );
  const raw = traced.program('raw_enter');
  for (const refused of [
    caught(() => raw.attachKprobe('do_unlinkat')),
    caught(() => raw.attachSyscall('unlink')),
    caught(() => raw.attachKprobeMulti(['do_unlinkat'])),
  ]) {
    expect(refused).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ERR_EBPF_PROGRAM_TYPE',
      hint: expect.stringContaining('attachRawTracepoint'),
    });
  }
  expect(caught(() => program.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachKprobe(fn)'),
  });
  expect(fdCount()).toBe(fds);
});
