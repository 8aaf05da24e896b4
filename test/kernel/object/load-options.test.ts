import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BpfMap } from '../../../lib/map/map.ts';
import type { LoadOptions } from '../../../lib/object/load-options.ts';
import { type BpfObject, loadObject, loadObjectSync } from '../../../lib/object/object.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { assertNothingLeft, fdCount, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const options = testObject('options');
const load = (given: LoadOptions = {}) => loadObject(options, given);
const answer = (object: BpfObject) => object.program('answering').run({ data: new Uint8Array(64) }).retval;

/** The error that a load ends with, on the pool and synchronously; nothing may be left of it; afterAll() asks the kernel. */
async function refused(given: LoadOptions): Promise<unknown> {
  const fds = fdCount();
  const error = await rejection(load(given));
  expect(caught(() => loadObjectSync(options, given))).toMatchObject({
    name: (error as Error).name,
    message: (error as Error).message,
  });
  expect(fdCount()).toBe(fds);
  return error;
}

test('globals: first values as the object has them, and as they are now', async () => {
  using object = await load();
  expect({ ...object.globals }).toEqual({
    answer: 7,
    tiny: -1,
    wide: 1n,
    enabled: false,
    small: -300,
    balance: -5n,
    level: 2,
    port: 0,
    runs_seen: 0n,
    label: new Uint8Array([110, 111, 110, 101, 0, 0, 0, 0]),
    limits: new Uint8Array([1, 0, 0, 0, 2, 0, 0, 0]),
  });
  expect(answer(object)).toBe(6);
  expect([object.globals.runs_seen, object.globals.balance]).toEqual([1n, -6n]);
  const { globals } = object;
  object.close();
  expect(caught(() => globals.answer)).toMatchObject({ name: 'EbpfStateError' });
});

test('globals are what the program sees, whatever their kind', async () => {
  const globals = {
    answer: 40,
    tiny: 2,
    wide: 2n ** 32n * 5n,
    small: -32768,
    port: 65535,
    balance: -(2n ** 63n),
  };
  using object = await load({ globals });
  expect({ ...object.globals }).toMatchObject(globals);
  expect(answer(object)).toBe(47);
  using sync = loadObjectSync(options, { globals: { answer: 4_294_967_295n, tiny: -128, wide: 0 } });
  expect(sync.globals).toMatchObject({ answer: 4_294_967_295, tiny: -128, wide: 0n });
  expect(answer(sync)).toBe(0xffffffff - 128);
  using other = await load({
    globals: {
      enabled: true,
      label: Uint8Array.of(65, 0, 0, 0, 0, 0, 0, 0),
      limits: Uint8Array.of(10, 0, 0, 0, 0, 0, 0, 0),
    },
  });
  expect(other.globals.enabled).toBe(true);
  expect(answer(other)).toBe(65 + 10 + 3);
});

test.each([
  ['anwser', 1, 'EbpfLoadError', /no global variable "anwser"/],
  ['hidden', 1, 'EbpfLoadError', /no global variable "hidden"/],
  ['toString', 1, 'EbpfLoadError', /no global variable/],
  ['answer', -1, 'RangeError', /0 to 4294967295 for the global answer \(unsigned, 4 bytes\) but received -1/],
  ['answer', 2 ** 32, 'RangeError', /received 4294967296/],
  ['answer', 1.5, 'TypeError', /safe integer or a bigint/],
  ['answer', Number.NaN, 'TypeError', /NaN/],
  ['answer', true, 'TypeError', /received true/],
  ['answer', '1' as unknown as number, 'TypeError', /received 1/],
  ['answer', new Uint8Array(3), 'RangeError', /4 bytes .* received 3/],
  ['tiny', 128, 'RangeError', /-128 to 127/],
  ['tiny', -129n, 'RangeError', /received -129n/],
  ['small', 32768, 'RangeError', /-32768 to 32767/],
  ['wide', 2n ** 64n, 'RangeError', /18446744073709551615/],
  ['wide', 2 ** 60, 'TypeError', /safe integer/],
  ['balance', 2n ** 63n, 'RangeError', /9223372036854775807/],
  ['enabled', 1, 'TypeError', /Expected a boolean/],
  ['label', 'text' as unknown as Uint8Array, 'TypeError', /8 bytes/],
  ['label', new Uint8Array(9), 'RangeError', /received 9/],
  ['limits', 5, 'TypeError', /Uint8Array of 8 bytes/],
])('global %s = %s is refused', async (name, value, error, message) => {
  const found = await refused({ globals: { [name]: value } });
  expect(found).toMatchObject({ name: error });
  expect((found as Error).message).toMatch(message);
  if (error === 'EbpfLoadError') {
    expect(found).toMatchObject({
      code: 'ERR_EBPF_NO_GLOBAL',
      hint: expect.stringMatching(/^it has (\w+, ){4}\w+$/),
    });
  }
});

test('names and members that are not there are errors', async () => {
  expect(await refused({ maps: { tabel: { maxEntries: 3 } } })).toMatchObject({
    name: 'EbpfLoadError',
    code: 'ERR_EBPF_NO_MAP',
    hint: 'it has table, twin',
  });
  expect(await refused({ programs: { answerin: { load: false } } })).toMatchObject({
    name: 'EbpfLoadError',
    code: 'ERR_EBPF_NO_PROGRAM',
    hint: 'it has answering, on_btf',
  });
  expect(await refused({ maps: { table: { maxEntires: 3 } as object } })).toMatchObject({
    name: 'TypeError',
    message: 'Expected maxEntries, reuse, pin in maps.table but received maxEntires',
  });
  expect(await refused({ programs: { answering: { skip: true } as object } })).toBeInstanceOf(TypeError);
  expect(await refused({ global: { answer: 1 } } as object)).toBeInstanceOf(TypeError);
  for (const maxEntries of [0, -1, 1.5, 2 ** 32, Number.NaN]) {
    expect(await refused({ maps: { table: { maxEntries } } })).toBeInstanceOf(RangeError);
  }
  expect(await refused({ programs: { answering: { device: 'absent0' } } })).toMatchObject({
    code: 'ERR_EBPF_NO_INTERFACE',
  });
  expect(await refused({ btf: '/nonexistent/btf' })).toMatchObject({ name: 'EbpfLoadError', code: 'ENOENT' });
});

test('maxEntries is the kernel’s', async () => {
  using object = await load({ maps: { table: { maxEntries: 3 } } });
  expect(object.map('table').maxEntries).toBe(3);
  expect(BpfMap.list()).toContainEqual(
    expect.objectContaining({ id: object.map('table').id, maxEntries: 3 }),
  );
});

test('reuse: one map for two objects, by handle and by pin', async () => {
  using bpffs = new Bpffs();
  using first = await loadObject(shippedObject('xdp_counter'), {
    maps: { packet_counters: { pin: bpffs.at('counters') } },
  });
  expect(bpffs.names()).toEqual(['counters']);
  const id = first.map('packet_counters').id;
  for (const reuse of [first.map('packet_counters'), bpffs.at('counters')]) {
    const fds = fdCount();
    const second = await loadObject(shippedObject('xdp_counter'), { maps: { packet_counters: { reuse } } });
    expect(second.map('packet_counters').id).toBe(id);
    expect(second.map('packet_counters').name).toBe('packet_counters');
    second.close();
    expect(fdCount()).toBe(fds);
  }
  first.map('packet_counters').unpin();
  expect(bpffs.names()).toEqual([]);
});

test('reuse: a map keeps the name that the object gives it', async () => {
  using first = await load();
  using other = await load({ maps: { table: { reuse: first.map('twin') } } });
  expect(Object.keys(other.maps)).toEqual(Object.keys(first.maps));
  expect(other.map('table').id).toBe(first.map('twin').id);
});

test('reuse: a map of another shape is refused, and so is a closed one', async () => {
  using bpffs = new Bpffs();
  using counter = await loadObject(shippedObject('xdp_counter'));
  counter.map('packet_counters').pin(bpffs.at('counters'));
  for (const reuse of [counter.map('packet_counters'), bpffs.at('counters')]) {
    const error = await refused({ maps: { table: { reuse } } });
    expect(error).toMatchObject({ name: 'EbpfMapError', code: 'ERR_EBPF_MAP_SPEC' });
    expect((error as Error).message).toContain(
      'type is percpu_array, expected hash; valueSize is 16, expected 8; maxEntries is 4, expected 16',
    );
  }
  expect(await refused({ maps: { table: { reuse: bpffs.at('absent') } } })).toMatchObject({ code: 'ENOENT' });
  using first = await load();
  const map = first.map('table');
  map.close();
  expect(await refused({ maps: { table: { reuse: map } } })).toMatchObject({ name: 'EbpfStateError' });
});

test('pin: all or nothing, and a name that is taken leaves no object', async () => {
  using bpffs = new Bpffs();
  using counter = await loadObject(shippedObject('xdp_counter'));
  counter.map('packet_counters').pin(bpffs.at('table'));
  expect(await refused({ maps: { table: { pin: bpffs.at('table') } } })).toMatchObject({ code: 'EEXIST' });
  expect(await refused({ maps: { table: { pin: bpffs.at('a.b') } } })).toMatchObject({
    code: 'ERR_EBPF_PIN_NAME',
  });
  expect(bpffs.names()).toEqual(['table']);
  using object = await load({ pinRoot: bpffs.path, maps: { table: { pin: 'under_root' } } });
  using found = BpfMap.fromPin(bpffs.at('under_root'));
  expect(found.id).toBe(object.map('table').id);
});

test('a map that is pinned by name is shared under pinRoot', async () => {
  using bpffs = new Bpffs();
  const shared = testObject('shared');
  const fds = fdCount();
  const first = await loadObject(shared, { pinRoot: bpffs.path });
  first.program('sharing').run({ data: new Uint8Array(64) });
  first.close();
  expect(bpffs.names()).toEqual(['shared']);
  const second = await loadObject(shared, { pinRoot: bpffs.path });
  second.program('sharing').run({ data: new Uint8Array(64) });
  expect(second.map('shared').get(0)?.[0]).toBe(2);
  second.close();
  expect(fdCount()).toBe(fds);

  rmSync(bpffs.at('shared'));
  using counter = await loadObject(shippedObject('xdp_counter'));
  counter.map('packet_counters').pin(bpffs.at('shared'));
  const mismatch = await rejection(loadObject(shared, { pinRoot: bpffs.path }));
  expect(mismatch).toMatchObject({ name: 'EbpfLoadError', code: 'EINVAL' });
  expect((mismatch as Error).message).toContain('parameter mismatch');
  bpffs.unmount();
  expect(await rejection(loadObject(shared, { pinRoot: bpffs.path }))).toMatchObject({
    name: 'EbpfLoadError',
    code: 'ERR_EBPF_NO_BPFFS',
    hint: expect.stringContaining('mount -t bpf bpf /sys/fs/bpf'),
  });
});

test('programs: load and attachTarget', async () => {
  using object = await load({ programs: { answering: { load: false } } });
  expect(Object.keys(object.programs)).toEqual([]);
  expect(object.map('table').maxEntries).toBe(16);
  using traced = await load({ programs: { on_btf: { load: true, attachTarget: 'sys_enter' } } });
  expect(traced.program('on_btf').type).toBe('tracing');
  expect(
    await refused({ programs: { on_btf: { load: true, attachTarget: 'no_such_tracepoint' } } }),
  ).toMatchObject({
    name: 'EbpfLoadError',
  });
  // No card here runs BPF: the kernel says so, and nothing of it is left.
  expect(await refused({ programs: { answering: { device: 'lo' } } })).toMatchObject({
    name: 'EbpfLoadError',
  });
});

test('kconfig and BTF of the caller’s', async () => {
  using object = await loadObject(testObject('kconfig'), { kconfig: 'CONFIG_NODE_EBPF_TEST=4711\n' });
  expect(object.program('configured').run({ data: new Uint8Array(64) }).retval).toBe(4711);
  const relocated = async (btf: string) => {
    using own = await loadObject(testObject('relocated'), { btf });
    return own.program('relocated').run({ data: new Uint8Array(64) }).retval;
  };
  expect(await relocated('/sys/kernel/btf/vmlinux')).toBe(1);
  expect(await relocated(options)).toBe(0);
  expect(await refused({ tokenPath: '/nonexistent/bpffs' })).toMatchObject({
    name: 'EbpfLoadError',
    code: 'ENOENT',
  });
});

test('an abort while the kernel works leaves nothing', async () => {
  const fds = fdCount();
  const controller = new AbortController();
  const loading = load({ signal: controller.signal, maps: { table: { maxEntries: 5 } } });
  setImmediate(() => controller.abort());
  expect(await rejection(loading)).toMatchObject({ name: 'AbortError' });
  expect(fdCount()).toBe(fds);
});

test('at every number of free descriptors a load succeeds or leaves nothing', async () => {
  const child = runModule(
    `const { openSync, closeSync, readdirSync } = await import('node:fs');
     const fds = () => readdirSync('/proc/self/fd').length;
     const path = ${JSON.stringify(options)};
     (await ebpf.loadObject(path)).close();
     const before = fds();
     const codes = new Set();
     let loaded = 0;
     for (let free = 1; free < 30; free++) {
       const taken = [];
       try { for (;;) taken.push(openSync('/dev/null')); } catch {}
       for (const fd of taken.splice(0, free)) closeSync(fd);
       try { ebpf.loadObjectSync(path, { maps: { table: { maxEntries: 4 } } }).close(); loaded++; }
       catch ({ code }) { codes.add(code); }
       for (const fd of taken) closeSync(fd);
       if (fds() !== before) { codes.add(free + ' free: ' + (fds() - before) + ' lost'); break; }
     }
     console.log(JSON.stringify({ codes: [...codes], some: loaded > 0 }));`,
    { prefix: ['prlimit', '--nofile=128'] },
  );
  const { codes, some } = JSON.parse(await child.line()) as { codes: string[]; some: boolean };
  expect(codes.filter((code) => /lost/.test(code))).toEqual([]);
  expect(codes).toContain('EMFILE');
  expect(some).toBe(true);
});
