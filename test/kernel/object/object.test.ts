import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EbpfError, EbpfMapError, EbpfStateError } from '../../../lib/core/errors.ts';
import { BpfMap, possibleCpus } from '../../../lib/map/map.ts';
import { loadObject, loadObjectSync } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { compile } from '../../helpers/elf.ts';
import { testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  fdCount,
  mapIds,
  programIds,
  type Snapshot,
  snapshotIds,
} from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['walked', 'watch']);
});
afterAll(() => assertNothingLeft(before));

test.each([
  ['a path', () => shippedObject('xdp_counter'), 'xdp_counter'],
  ['a URL', () => pathToFileURL(shippedObject('xdp_counter')), 'xdp_counter'],
  ['bytes', () => readFileSync(shippedObject('xdp_counter')), 'object'],
  [
    'bytes at an odd offset',
    () => Buffer.concat([Buffer.alloc(1), readFileSync(shippedObject('xdp_counter'))]).subarray(1),
    'object',
  ],
])('loads from %s, on the pool and synchronously', async (_, source, name) => {
  for (const object of [await loadObject(source()), loadObjectSync(source())]) {
    expect(object.name).toBe(name);
    const program = object.program('xdp_counter');
    expect(program).toMatchObject({ section: 'xdp', type: 'xdp' });
    expect(programIds().has(program.id)).toBe(true);
    expect(object.maps.packet_counters).toMatchObject({
      type: 'percpu_array',
      keySize: 4,
      valueSize: 16,
      maxEntries: 4,
    });
    expect(mapIds().has(object.map('packet_counters').id)).toBe(true);
    object.close();
  }
});

test('the verifier’s log of a program that loads, where it is asked for', async () => {
  using object = await loadObject(shippedObject('xdp_counter'), { verifierLog: 'always' });
  expect(object.program('xdp_counter').verifierLog).toMatch(/processed \d+ insns/);
  using silent = await loadObject(shippedObject('xdp_counter'));
  expect(silent.program('xdp_counter').verifierLog).toBeUndefined();
});

test('names that are not there are answered with those that are', async () => {
  using object = await loadObject(testObject('two_programs'));
  expect(caught(() => object.program('frist'))).toMatchObject({
    code: 'ERR_EBPF_NO_PROGRAM',
    hint: 'it has first, second',
  });
  expect(caught(() => object.map('toString'))).toMatchObject({
    code: 'ERR_EBPF_NO_MAP',
    hint: 'it has runs',
  });
});

test('closing is idempotent, in any order, and a closed handle says so', async () => {
  const fds = fdCount();
  const object = await loadObject(shippedObject('xdp_counter'));
  const map = object.map('packet_counters');
  const program = object.program('xdp_counter');
  map.close();
  map.close();
  expect(() => map.get(0)).toThrow(EbpfStateError);
  expect(() => map.getInto(0, new Uint8Array(map.slotSize))).toThrow(/map packet_counters is closed/);
  expect(() => [...map.keys()]).toThrow(EbpfStateError);
  expect(() => map.info()).toThrow(EbpfStateError);
  program.close();
  expect(() => program.stats()).toThrow(EbpfStateError);
  expect(() => program.run({ data: new Uint8Array(64) })).toThrow(EbpfStateError);
  expect(() => program.attachXdp({ iface: 'lo', mode: 'skb' })).toThrow(EbpfStateError);
  object.close();
  object.close();
  expect(() => object.map('packet_counters')).toThrow(EbpfStateError);
  expect(fdCount()).toBe(fds);
});

test('info is the kernel’s', async () => {
  using object = await loadObject(shippedObject('xdp_counter'));
  const map = object.map('packet_counters');
  const info = map.info();
  expect(info).toMatchObject({ id: map.id, type: 'percpu_array', btf: true, frozen: false });
  expect(info.memoryBytes).toBeGreaterThanOrEqual(4 * 16 * possibleCpus());
});

test('run() gives what the program returned, and refuses what it cannot run on', async () => {
  using object = await loadObject(shippedObject('xdp_counter'));
  const program = object.program('xdp_counter');
  const dataOut = new Uint8Array(100);
  const result = program.run({ data: new Uint8Array(64).fill(7), dataOut, repeat: 3 });
  expect(result).toMatchObject({ retval: 2, dataOutSize: 64 });
  expect(dataOut.subarray(0, 65)).toEqual(Uint8Array.from({ length: 65 }, (_, i) => (i < 64 ? 7 : 0)));
  expect(() => program.run({ data: new Uint8Array(64), repeat: -1 })).toThrow(RangeError);
  expect(() => program.run({ data: new Uint8Array(64), repeat: Number.NaN })).toThrow(RangeError);
  expect(() => program.run({ data: 'frame' as unknown as Uint8Array })).toThrow(TypeError);
});

test('run() of a raw tracepoint, which takes arguments and no frame, and runs once', async () => {
  using object = await loadObject(testObject('traced'));
  const program = object.program('raw_enter');
  const ctx = new Uint8Array(16);
  expect(program.run({ ctx }).retval).toBe(0);
  expect(program.run({ ctx, cpu: 0 }).retval).toBe(0);
  const hits = object.map('hits').get(0) ?? new Uint8Array(8);
  expect(new BigUint64Array(Uint8Array.from(hits).buffer)).toEqual(BigUint64Array.of(2n));
  expect(() => program.run({ ctx, repeat: 2 })).toThrow(EbpfError);
});

testWith('test runs that refuse short frames')('run() refuses a frame that is too short', async () => {
  using object = await loadObject(shippedObject('xdp_counter'));
  const program = object.program('xdp_counter');
  expect(() => program.run({ data: new Uint8Array(13) })).toThrow(EbpfError);
});

test('keys and buffers of the wrong shape are refused, and a detached buffer has no bytes', async () => {
  using object = await loadObject(shippedObject('xdp_counter'));
  const map = object.map('packet_counters');
  const out = new Uint8Array(map.slotSize);
  expect(map.getInto(3, out)).toBe(true);
  expect(map.getInto(4, out)).toBe(false);
  expect(map.get(4)).toBeUndefined();
  expect(map.getInto(Uint8Array.of(3, 0, 0, 0), out)).toBe(true);
  for (const key of [-1, 1.5, 2 ** 32, Number.NaN]) expect(() => map.getInto(key, out)).toThrow(RangeError);
  for (const length of [0, 3, 5]) expect(() => map.getInto(new Uint8Array(length), out)).toThrow(RangeError);
  for (const key of [
    '0',
    null,
    undefined,
    {},
    [],
    0n,
    new Uint32Array(1),
    new DataView(new ArrayBuffer(4)),
  ]) {
    expect(() => map.getInto(key as number, out)).toThrow(TypeError);
  }
  for (const bad of [undefined, 'out', new Uint16Array(100), new ArrayBuffer(100)]) {
    expect(() => map.getInto(0, bad as unknown as Uint8Array)).toThrow(TypeError);
  }
  const detached = new Uint8Array(map.slotSize);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  expect(() => map.getInto(0, detached)).toThrow(RangeError);
  const shared = new Uint8Array(new SharedArrayBuffer(map.slotSize + 1), 1);
  expect(map.getInto(0, shared)).toBe(true);
});

test('a native method refuses a receiver that is not its own', async () => {
  using object = await loadObject(shippedObject('xdp_counter'));
  const map = object.map('packet_counters');
  const { getInto } = BpfMap.prototype;
  expect(() => getInto.call({} as BpfMap, 0, new Uint8Array(32))).toThrow(TypeError);
  expect(() => getInto.call(object as unknown as BpfMap, 0, new Uint8Array(32))).toThrow(TypeError);
  expect(getInto.call(map, 0, new Uint8Array(map.slotSize))).toBe(true);
});

test('a map without lookups says what the kernel says', async () => {
  using object = await loadObject(testObject('odd_value'));
  expect([...object.map('odd_array').keys()].length).toBe(object.map('odd_array').maxEntries);
  const closed = object.map('odd_hash');
  expect(closed.get(new Uint8Array(closed.keySize).fill(0xee))).toBeUndefined();
  expect(EbpfMapError.prototype).toBeInstanceOf(EbpfError);
});

test('a walk over a hash under which keys go gives the others, and none twice', async () => {
  using object = await loadObject(
    compile(`struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32);
      __type(value, __u32); } walked SEC(".maps"); SEC("xdp") int watch(void *c) { return 2; }`),
  );
  const map = object.map('walked');
  const bytes = (value: number) => ['hex', value.toString(16), '0', '0', '0'];
  const bpftool = (verb: string, ...rest: string[]) =>
    execFileSync('bpftool', ['map', verb, 'id', `${map.id}`, ...rest], { stdio: 'pipe' });
  const all = [1, 2, 3, 4, 5, 6, 7, 8];
  for (const key of all) bpftool('update', 'key', ...bytes(key), 'value', ...bytes(2 * key));
  expect([...map].map(([key, value]) => [key[0], value[0]]).sort()).toEqual(all.map((key) => [key, 2 * key]));
  const given: number[] = [];
  for (const [key = 0] of map.keys()) {
    given.push(key);
    // The kernel starts over, at a key that was given already.
    if (given.length === 2) bpftool('delete', 'key', ...bytes(key));
  }
  expect(given.sort()).toEqual(all);
});

test('a tracepoint program cannot be run by hand', async () => {
  const bytes = compile('SEC("tracepoint/sched/sched_switch") int watch(void *c) { return 0; }');
  using object = await loadObject(bytes);
  expect(caught(() => object.program('watch').run())).toMatchObject({
    name: 'EbpfNotSupportedError',
    feature: 'test run of tracepoint',
  });
});

test('an object without a program has none to name', async () => {
  using object = await loadObject(
    compile(`struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
      __type(value, __u32); } walked SEC(".maps");`),
  );
  expect(caught(() => object.program('watch'))).toMatchObject({
    code: 'ERR_EBPF_NO_PROGRAM',
    hint: 'it has no program at all',
  });
});
