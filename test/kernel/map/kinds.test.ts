// What holds no plain values: queues, filters, maps of things, storage; and what create() takes and refuses.

import { closeSync, openSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EbpfMapError } from '../../../lib/core/errors.ts';
import { MapFlags, type MapSpec } from '../../../lib/core/map-spec.ts';
import { BpfMap, possibleCpus } from '../../../lib/map/map.ts';
import { loadObjectSync } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { Cgroup } from '../../helpers/cgroup.ts';
import { LONG } from '../../helpers/extent.ts';
import { assertNothingLeft, bpftool, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { hex, type Random, randomBytes } from '../../helpers/map-model.ts';
import { testObject } from '../../helpers/objects.ts';
import { seedOf, xorshift } from '../../helpers/random.ts';
import { SHORT } from '../../helpers/short.ts';
import { without } from '../../helpers/under.ts';

const OPERATIONS = SHORT ? 2_000 : LONG ? 10_000 : 4_000;
const NONE = new Uint8Array();

let before: Snapshot;
let random: Random;
beforeAll(() => {
  before = snapshotIds(['kinds', 'stacks', 'last_stack', 'stack_of', 'stacks.rodata']);
});
beforeEach(({ task }) => {
  random = xorshift(seedOf(task.name));
});
afterAll(() => assertNothingLeft(before));

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof EbpfMapError)) throw error;
    return error.code;
  }
}

function times(count: number, operations: readonly (() => void)[]): void {
  for (let i = 0; i < count; i++) operations[random(operations.length)]?.();
}

const u32 = (number: number): Uint8Array => new Uint8Array(Uint32Array.of(number).buffer);
const number = (bytes: Uint8Array | undefined): number | undefined =>
  bytes && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

describe(`${OPERATIONS} random operations`, () => {
  test.each(['queue', 'stack'] as const)('%s', { timeout: 60_000 }, (type) => {
    using map = BpfMap.create({ name: 'kinds', type, keySize: 0, valueSize: 11, maxEntries: 9 });
    const held: Uint8Array[] = [];
    const first = () => (type === 'queue' ? held[0] : held.at(-1));
    const push = (flags: number) => () => {
      const value = randomBytes(random, 11);
      const full = held.length === 9;
      expect(codeOf(() => map.set(NONE, value, flags))).toBe(full && flags === 0 ? 'E2BIG' : undefined);
      if (full && flags === 0) return;
      if (full) held.shift(); // BPF_EXIST: the oldest makes room
      held.push(value);
    };
    times(OPERATIONS, [
      push(0),
      push(0),
      push(2),
      () => expect(map.get(NONE)).toEqual(first()),
      () => {
        const out = new Uint8Array(11);
        expect(map.getInto(NONE, out)).toBe(held.length > 0);
        expect(out).toEqual(first() ?? new Uint8Array(11));
      },
      () => expect(map.take(NONE)).toEqual(type === 'queue' ? held.shift() : held.pop()),
    ]);
    expect(codeOf(() => map.set(NONE, new Uint8Array(11), 1))).toBe('EINVAL');
    expect(codeOf(() => map.delete(NONE))).toBe('EINVAL');
    expect(codeOf(() => map.keys().next())).toBe('EINVAL');
    expect(codeOf(() => map.batch().next())).toBe('EINVAL');
  });

  test('bloom_filter', { timeout: 60_000 }, () => {
    using map = BpfMap.create({
      name: 'kinds',
      type: 'bloom_filter',
      keySize: 0,
      valueSize: 8,
      maxEntries: 4 * OPERATIONS,
    });
    const added: Uint8Array[] = [];
    let wrong = 0;
    let asked = 0;
    const fresh = () => randomBytes(random, 8);
    times(OPERATIONS, [
      () => {
        const value = fresh();
        map.set(NONE, value);
        added.push(value);
      },
      () => {
        const value = added[random(added.length)];
        if (!value) return;
        const asking = value.slice();
        expect(map.getInto(NONE, asking)).toBe(true);
        expect(asking).toEqual(value);
      },
      () => {
        asked++;
        if (map.getInto(NONE, fresh())) wrong++;
      },
    ]);
    expect(wrong).toBeLessThan(asked / 10); // "perhaps", for at most a few that were never added
    expect(codeOf(() => map.delete(NONE))).toBe('EOPNOTSUPP');
    expect(codeOf(() => map.take(NONE))).toBe('ENOTSUPP');
  });

  test.each(['array_of_maps', 'hash_of_maps'] as const)('%s', { timeout: 120_000 }, (type) => {
    const inner: MapSpec = { name: 'kinds', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 2 };
    using map = BpfMap.create({ name: 'kinds', type, keySize: 4, valueSize: 4, maxEntries: 8, inner });
    const maps = Array.from({ length: 5 }, () => BpfMap.create(inner));
    using other = BpfMap.create({ ...inner, valueSize: 16 });
    const isArray = type === 'array_of_maps';
    const held = new Map<number, number>();
    const key = () => random(isArray ? 8 : 12);
    const refused = (at: number, flags: number) => {
      if (isArray) return flags === 0 ? undefined : 'EINVAL';
      if (held.has(at)) return flags === 1 ? 'EEXIST' : undefined;
      return flags === 2 ? 'ENOENT' : held.size === 8 ? 'E2BIG' : undefined;
    };
    const write = () => {
      const at = key();
      const flags = isArray ? 0 : random(3);
      const value = maps[random(maps.length)] as BpfMap;
      const wanted = refused(at, flags);
      const asBytes = random(2) === 0;
      expect(codeOf(() => map.set(at, asBytes ? u32(value.fd) : value, flags))).toBe(wanted);
      if (wanted === undefined) held.set(at, value.id);
    };
    // Each change waits for an RCU grace period: fewer of them.
    times(OPERATIONS, [
      ...Array.from({ length: 20 }, () => () => {
        const at = key();
        expect(number(map.get(at))).toBe(held.get(at));
      }),
      () => {
        const at = key();
        expect(map.delete(at)).toBe(held.delete(at));
      },
      write,
      write,
      () => {
        const found = [...map].map(([at, value]) => [number(at), number(value)]);
        expect(new Map(found as [number, number][])).toEqual(held);
      },
      () => {
        using scan = map.batch({ capacity: 1 + random(16) });
        const found = new Map<number, number>();
        for (let rows = scan.next(); rows > 0; rows = scan.next()) {
          for (let i = 0; i < rows; i++) {
            found.set(
              number(scan.keys.subarray(4 * i)) as number,
              number(scan.values.subarray(4 * i)) as number,
            );
          }
        }
        expect(found).toEqual(held);
      },
    ]);
    expect(codeOf(() => map.set(1, other))).toBe('EINVAL');
    expect(codeOf(() => map.set(1, u32(map.fd)))).toBe('EINVAL');
    for (const [at, id] of held) {
      const key = [...u32(at)].map(String);
      const { value } = bpftool<{ value: string[] }>('map', 'lookup', 'id', `${map.id}`, 'key', ...key);
      expect(value.map(Number)).toEqual([...u32(id)]);
    }
    for (const each of maps) each.close();
  });

  test('prog_array', { timeout: 120_000 }, () => {
    using map = BpfMap.create({ name: 'kinds', type: 'prog_array', keySize: 4, valueSize: 4, maxEntries: 6 });
    const objects = [1, 2, 3].map(() => loadObjectSync(testObject('pass')));
    const programs = objects.map((object) => object.program('pass'));
    const held = new Map<number, number>();
    times(OPERATIONS, [
      ...Array.from({ length: 20 }, () => () => {
        const at = random(6);
        expect(number(map.get(at))).toBe(held.get(at));
      }),
      () => {
        const at = random(6);
        expect(map.delete(at)).toBe(held.delete(at));
      },
      () => {
        const program = programs[random(3)];
        if (!program) return;
        const at = random(6);
        map.set(at, program);
        held.set(at, program.id);
      },
      () => expect([...map.keys()]).toHaveLength(6),
      () => expect(new Map([...map].map(([at, id]) => [number(at), number(id)]))).toEqual(held),
    ]);
    expect(codeOf(() => map.set(1, u32(map.fd)))).toBe('EINVAL');
    for (const object of objects) object.close();
    // The map has them still.
    expect(new Map([...map].map(([at, id]) => [number(at), number(id)]))).toEqual(held);
    expect(caught(() => map.set(0, programs[0] as never))).toMatchObject({ name: 'EbpfStateError' });
    expect(new Map([...map].map(([at, id]) => [number(at), number(id)]))).toEqual(held);
  });

  test.each([
    ['devmap', 4],
    ['devmap', 8],
    ['devmap_hash', 4],
    ['devmap_hash', 8],
  ] as const)('%s, values of %d bytes', { timeout: 60_000 }, (type, valueSize) => {
    using map = BpfMap.create({ name: 'kinds', type, keySize: 4, valueSize, maxEntries: 6 });
    const isArray = type === 'devmap';
    const held = new Set<number>();
    const value = new Uint8Array(valueSize);
    value[0] = 1; // lo, in every network namespace
    const key = () => random(isArray ? 6 : 9);
    times(OPERATIONS, [
      () => {
        const at = key();
        expect(map.get(at)).toEqual(held.has(at) ? value : undefined);
      },
      () => {
        const at = key();
        const flags = random(2);
        const refused = flags === 1 && (isArray || held.has(at)) ? 'EEXIST' : undefined;
        const full = !isArray && !held.has(at) && held.size === 6 ? 'E2BIG' : undefined;
        const code = codeOf(() => map.set(at, value, flags));
        expect(code).toBe(refused ?? full);
        if (code === undefined) held.add(at);
      },
      () => {
        const at = key();
        const was = held.delete(at);
        expect(map.delete(at)).toBe(isArray || was);
      },
      () => expect(new Set([...map].map(([at]) => number(at)))).toEqual(held),
    ]);
    const nobody = value.slice();
    nobody.fill(0xff, 0, 4);
    expect(codeOf(() => map.set(0, nobody))).toBe('EINVAL');
  });

  test('cpumap', { timeout: 120_000 }, () => {
    const cpus = possibleCpus();
    using map = BpfMap.create({ name: 'kinds', type: 'cpumap', keySize: 4, valueSize: 4, maxEntries: cpus });
    const held = new Map<number, number>();
    times(OPERATIONS, [
      ...Array.from({ length: 50 }, () => () => {
        const at = random(cpus);
        expect(number(map.get(at))).toBe(held.get(at));
      }),
      () => {
        const [at, size] = [random(cpus), 1 + random(1000)];
        map.set(at, u32(size));
        held.set(at, size);
      },
      () => {
        const at = random(cpus);
        expect(map.delete(at)).toBe(true);
        held.delete(at);
      },
      () => expect(new Map([...map].map(([at, size]) => [number(at), number(size)]))).toEqual(held),
    ]);
    expect(codeOf(() => map.set(0, u32(16_385)))).toBe('EOVERFLOW');
  });

  test('stack_trace', { timeout: 60_000 }, () => {
    using object = loadObjectSync(testObject('stacks'), { globals: { process: process.pid } });
    const stacks = object.map('stacks');
    using _link = object.program('stack_of').attach();
    const seen = new Set<string>();
    times(OPERATIONS / 10, [
      () => {
        for (const key of stacks.keys()) seen.add(hex(key));
      },
      () => {
        for (const [key, frames] of stacks) {
          expect(key).toHaveLength(4);
          expect(frames).toHaveLength(128);
          expect(new BigUint64Array(frames.buffer)[0]).not.toBe(0n);
        }
      },
      () => {
        for (const key of stacks.keys()) {
          if (random(2) === 0) stacks.delete(key);
          else stacks.take(key);
        }
      },
    ]);
    expect(seen.size).toBeGreaterThan(0);
    expect(codeOf(() => stacks.set(0, new Uint8Array(128)))).toBe('EINVAL');
    expect(() => stacks.reader()).toThrow('a stack_trace map has no rows of counters');
  });
});

describe('what belongs to something else', () => {
  let server: Server;
  let fds: Record<'socket' | 'file' | 'cgroup', number>;
  let cgroup: Cgroup;
  beforeAll(async () => {
    server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    cgroup = new Cgroup();
    fds = {
      socket: (server as unknown as { _handle: { fd: number } })._handle.fd,
      file: openSync(testObject('pass'), 'r'),
      cgroup: openSync(cgroup.path, 'r'),
    };
  });
  afterAll(() => {
    server.close();
    closeSync(fds.file);
    closeSync(fds.cgroup);
    cgroup[Symbol.dispose]();
  });

  test.each([
    ['sk_storage', 'socket'],
    ['inode_storage', 'file'],
    ['cgrp_storage', 'cgroup'],
  ] as const)('%s: a value for a descriptor', (type, kind) => {
    using map = BpfMap.create({
      name: 'kinds',
      type,
      keySize: 4,
      valueSize: 20,
      maxEntries: 0,
      flags: MapFlags.NO_PREALLOC,
    });
    expect(map.info()).toMatchObject({ type, valueSize: 20, maxEntries: 0, btf: true });
    const key = fds[kind];
    let held: Uint8Array | undefined;
    times(OPERATIONS / 10, [
      () => expect(map.get(key)).toEqual(held),
      () => {
        const value = randomBytes(random, 20);
        const flags = random(3);
        const wanted = flags === 1 && held ? 'EEXIST' : flags === 2 && !held ? 'ENOENT' : undefined;
        expect(codeOf(() => map.set(key, value, flags))).toBe(wanted);
        if (wanted === undefined) held = value;
      },
      () => {
        expect(map.delete(key)).toBe(held !== undefined);
        held = undefined;
      },
    ]);
    expect(codeOf(() => map.get(0xffff))).toBe('EBADF');
    expect(codeOf(() => map.take(key))).toBe('ENOTSUPP');
    expect(codeOf(() => map.keys().next())).toBe('ENOTSUPP');
    expect(codeOf(() => map.batch().next())).toBe('ENOTSUPP');
  });

  test('task_storage: a key that is no process', () => {
    using map = BpfMap.create({
      name: 'kinds',
      type: 'task_storage',
      keySize: 4,
      valueSize: 8,
      maxEntries: 0,
      flags: MapFlags.NO_PREALLOC,
    });
    expect(codeOf(() => map.get(fds.file))).toBe('EBADF');
  });

  test('cgroup_array takes cgroups and says nothing of them', () => {
    using map = BpfMap.create({
      name: 'kinds',
      type: 'cgroup_array',
      keySize: 4,
      valueSize: 4,
      maxEntries: 2,
    });
    map.set(1, u32(fds.cgroup));
    expect(codeOf(() => map.set(1, u32(fds.file)))).toBe('EBADF');
    expect(codeOf(() => map.get(1))).toBe('ENOTSUPP');
    expect([map.delete(1), map.delete(1)]).toEqual([true, false]);
  });

  test('sockmap and sockhash hold sockets, and give their cookies', () => {
    for (const type of ['sockmap', 'sockhash']) {
      using map = BpfMap.create({ name: 'kinds', type, keySize: 4, valueSize: 8, maxEntries: 2 });
      const value = new Uint8Array(8);
      new DataView(value.buffer).setUint32(0, fds.socket, true);
      map.set(1, value);
      const cookie = map.get(1);
      expect(cookie && new BigUint64Array(cookie.buffer)[0]).toBeGreaterThan(0n);
      expect([...map]).toEqual([[u32(1), cookie]]);
      expect(map.delete(1)).toBe(true);
      expect(map.get(1)).toBeUndefined();
    }
    using narrow = BpfMap.create({ name: 'kinds', type: 'sockmap', keySize: 4, valueSize: 4, maxEntries: 2 });
    expect(codeOf(() => narrow.get(1))).toBe('ENOSPC');
  });

  test('xskmap: user space may only take out', () => {
    using map = BpfMap.create({ name: 'kinds', type: 'xskmap', keySize: 4, valueSize: 4, maxEntries: 2 });
    expect(codeOf(() => map.set(0, u32(fds.file)))).toBe('ENOTSOCK');
    expect(codeOf(() => map.set(0, u32(fds.socket)))).toBe('EOPNOTSUPP');
    expect(codeOf(() => map.get(0))).toBe('EOPNOTSUPP');
    expect(map.delete(0)).toBe(true);
    expect([...map.keys()]).toHaveLength(2);
  });
});

describe('create()', () => {
  const inner: MapSpec = { type: 'array', keySize: 4, valueSize: 8, maxEntries: 1 };
  const page = 4096;
  /** Every type of Linux 6.18, with the least that it takes. */
  const LEAST: Record<string, Omit<MapSpec, 'type'>> = {
    hash: { keySize: 1, valueSize: 1, maxEntries: 1 },
    percpu_hash: { keySize: 1, valueSize: 1, maxEntries: 1 },
    lru_hash: { keySize: 1, valueSize: 1, maxEntries: 1 },
    lru_percpu_hash: { keySize: 1, valueSize: 1, maxEntries: 1 },
    array: { keySize: 4, valueSize: 1, maxEntries: 1 },
    percpu_array: { keySize: 4, valueSize: 1, maxEntries: 1 },
    prog_array: { keySize: 4, valueSize: 4, maxEntries: 1 },
    perf_event_array: { keySize: 4, valueSize: 4, maxEntries: 1 },
    cgroup_array: { keySize: 4, valueSize: 4, maxEntries: 1 },
    array_of_maps: { keySize: 4, valueSize: 4, maxEntries: 1, inner },
    hash_of_maps: { keySize: 1, valueSize: 4, maxEntries: 1, inner },
    stack_trace: { keySize: 4, valueSize: 8, maxEntries: 1 },
    lpm_trie: { keySize: 5, valueSize: 1, maxEntries: 1, flags: MapFlags.NO_PREALLOC },
    devmap: { keySize: 4, valueSize: 4, maxEntries: 1 },
    devmap_hash: { keySize: 4, valueSize: 4, maxEntries: 1 },
    cpumap: { keySize: 4, valueSize: 4, maxEntries: 1 },
    xskmap: { keySize: 4, valueSize: 4, maxEntries: 1 },
    sockmap: { keySize: 4, valueSize: 4, maxEntries: 1 },
    sockhash: { keySize: 1, valueSize: 4, maxEntries: 1 },
    reuseport_sockarray: { keySize: 4, valueSize: 4, maxEntries: 1 },
    queue: { keySize: 0, valueSize: 1, maxEntries: 1 },
    stack: { keySize: 0, valueSize: 1, maxEntries: 1 },
    bloom_filter: { keySize: 0, valueSize: 1, maxEntries: 1 },
    ringbuf: { keySize: 0, valueSize: 0, maxEntries: page },
    user_ringbuf: { keySize: 0, valueSize: 0, maxEntries: page },
    arena: { keySize: 0, valueSize: 0, maxEntries: 1, flags: MapFlags.MMAPABLE },
    cgroup_storage: { keySize: 16, valueSize: 1, maxEntries: 0 },
    percpu_cgroup_storage: { keySize: 16, valueSize: 1, maxEntries: 0 },
    sk_storage: { keySize: 4, valueSize: 1, maxEntries: 0, flags: MapFlags.NO_PREALLOC },
    inode_storage: { keySize: 4, valueSize: 1, maxEntries: 0, flags: MapFlags.NO_PREALLOC },
    task_storage: { keySize: 4, valueSize: 1, maxEntries: 0, flags: MapFlags.NO_PREALLOC },
    cgrp_storage: { keySize: 4, valueSize: 1, maxEntries: 0, flags: MapFlags.NO_PREALLOC },
  };

  test.each(Object.entries(LEAST))('%s', (type, least) => {
    using map = BpfMap.create({ name: 'kinds', type, ...least });
    const { flags = 0, keySize, valueSize, maxEntries } = least;
    expect(map.info()).toMatchObject({ name: 'kinds', type, keySize, valueSize, maxEntries });
    expect(map.info().flags).toBe(type.startsWith('devmap') ? MapFlags.RDONLY_PROG : flags);
    expect(bpftool('map', 'show', 'id', `${map.id}`)).toMatchObject({
      id: map.id,
      name: 'kinds',
      bytes_key: keySize,
      bytes_value: valueSize,
      max_entries: maxEntries,
    });
    expect(BpfMap.list().find(({ id }) => id === map.id)).toMatchObject({ type, name: 'kinds' });
    using again = BpfMap.fromId(map.id);
    expect([again.id, again.type, again.slotSize]).toEqual([map.id, type, map.slotSize]);
    // One more byte of key, of value, and no entries: what the kernel does not take is its error.
    for (const other of [
      { keySize: keySize + 1 },
      { valueSize: valueSize + 1 },
      { maxEntries: maxEntries === 0 ? 1 : 0 },
    ]) {
      const fits = codeOf(() => BpfMap.create({ name: 'kinds', type, ...least, ...other }).close());
      expect([undefined, 'EINVAL', 'E2BIG']).toContain(fits);
      if ('maxEntries' in other && type !== 'perf_event_array') expect(fits).toBe('EINVAL');
    }
  });

  test('struct_ops comes from an object', () => {
    const error = caught(() =>
      BpfMap.create({ type: 'struct_ops', keySize: 4, valueSize: 4, maxEntries: 1 }),
    );
    expect(error).toMatchObject({ name: 'EbpfMapError', hint: expect.stringContaining('loadObject') });
  });

  test.each([
    [{ type: 'lpm_trie', keySize: 8, valueSize: 1, maxEntries: 1 }, 'EINVAL', 'NO_PREALLOC'],
    [{ type: 'sk_storage', keySize: 4, valueSize: 8, maxEntries: 0 }, 'EINVAL', 'NO_PREALLOC'],
    [{ type: 'hash_of_maps', keySize: 4, valueSize: 4, maxEntries: 1 }, 'EINVAL', 'inner'],
    [{ type: 'array', keySize: 4, valueSize: 2 ** 31, maxEntries: 1 }, 'E2BIG', 'more than the kernel gives'],
    [{ type: 'array', keySize: 4, valueSize: 8, maxEntries: 2 ** 32 - 1 }, /E2BIG|ENOMEM|EPERM/, ''],
  ] as const)('%o: %s', (spec, code, hint) => {
    const error = caught(() => BpfMap.create(spec));
    expect(error).toBeInstanceOf(EbpfMapError);
    expect(error).toMatchObject({ code: expect.stringMatching(code) });
    if (hint) expect(error).toMatchObject({ hint: expect.stringContaining(hint) });
  });

  test.each([
    [{ type: 'hsah', keySize: 4, valueSize: 4, maxEntries: 1 }, TypeError, 'hash'],
    [{ type: 'unspec', keySize: 4, valueSize: 4, maxEntries: 1 }, TypeError, 'map type'],
    [{ keySize: 4, valueSize: 4, maxEntries: 1 }, TypeError, 'map type'],
    [{ type: 'hash', keySize: -1, valueSize: 4, maxEntries: 1 }, RangeError, 'keySize'],
    [{ type: 'hash', keySize: 4, valueSize: Number.NaN, maxEntries: 1 }, RangeError, 'valueSize'],
    [{ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2 ** 32 }, RangeError, 'maxEntries'],
    [{ type: 'hash', keySize: 4, valueSize: 4 }, RangeError, 'maxEntries'],
    [{ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, flags: 0.5 }, RangeError, 'flags'],
    [{ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, entries: 5 }, TypeError, 'entries'],
    [{ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, name: 'sixteen_letters_' }, TypeError, 'name'],
    [{ type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, name: 'a b' }, TypeError, 'name'],
    [{ type: 'hash_of_maps', keySize: 4, valueSize: 4, maxEntries: 1, inner: 5 }, TypeError, 'inner'],
    [undefined, TypeError, ''],
    [null, TypeError, ''],
  ])('%o is refused before the kernel is asked', (spec, kind, words) => {
    const error = caught(() => BpfMap.create(spec as never));
    expect(error).toBeInstanceOf(kind);
    expect(String(error)).toContain(words);
  });

  test('without CAP_BPF', async () => {
    const spec = '{ type: "hash", keySize: 4, valueSize: 4, maxEntries: 1 }';
    expect(await without(['bpf', 'sys_admin'], `ebpf.BpfMap.create(${spec})`)).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_BPF'],
    });
  });
});
