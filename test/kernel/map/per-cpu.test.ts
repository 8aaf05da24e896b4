import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BpfMap, possibleCpus } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { type SendOptions, sendFrames } from '../../helpers/send.ts';
import { until } from '../../helpers/until.ts';

const LITTLE = endianness() === 'LE';

/** A list such as 0-3,6 in /sys. */
function cpuList(path: string): number[] {
  return readFileSync(path, 'utf8')
    .trim()
    .split(',')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

const POSSIBLE = cpuList('/sys/devices/system/cpu/possible');
const SLOTS = Math.max(...POSSIBLE) + 1;
/** CPU 0, CPU 1 and so on, as far as the machine has them. */
const SENDERS = cpuList('/sys/devices/system/cpu/online').slice(0, 4);
/** A different number for each, so that no two rows can be confused. */
const share = (cpu: number) => 100 + 17 * cpu;

function view(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds();
});
afterAll(() => assertNothingLeft(before));

let netns: Netns;
let object: BpfObject | undefined;
beforeEach(() => {
  netns = createNetns();
});
afterEach(() => {
  try {
    object?.close();
  } finally {
    object = undefined;
    netns.close();
  }
});

function value(map: BpfMap, key: number | Uint8Array): Uint8Array {
  const found = map.get(key);
  if (!found) throw new Error(`${map.name} has no key ${key}`);
  return found;
}

describe('per-CPU rows', () => {
  const UDP_ROW = 1;

  function rowOf(map: BpfMap): { packets: number; bytes: number }[] {
    const slots = view(value(map, UDP_ROW));
    return Array.from({ length: SLOTS }, (_, cpu) => ({
      packets: Number(slots.getBigUint64(cpu * 16, LITTLE)),
      bytes: Number(slots.getBigUint64(cpu * 16 + 8, LITTLE)),
    }));
  }

  async function sendFromEachCpu(options: Omit<SendOptions, 'netns' | 'cpu'>): Promise<void> {
    for (const cpu of SENDERS) {
      await sendFrames([{ frame: frames.udp4(frames.bytes(cpu)), count: share(cpu) }], {
        netns,
        cpu,
        ...options,
      });
    }
  }

  const EXPECTED = Array.from({ length: SLOTS }, (_, cpu) => {
    const packets = SENDERS.includes(cpu) ? share(cpu) : 0;
    return { packets, bytes: packets * (42 + cpu) };
  });

  it.each(['drv', 'skb'] as const)(
    'are those of the CPU that received (%s)',
    { timeout: 60_000 },
    async (mode) => {
      const veth = mode === 'drv' ? netns.addVeth() : undefined;
      const iface = veth ? veth.a.name : netns.upLoopback().name;
      const receiver = veth ? veth.b.name : iface;
      object = await loadObject(shippedObject('xdp_counter'));
      const map = object.map('packet_counters');
      expect(possibleCpus()).toBe(SLOTS);
      expect(map.slotSize).toBe(16 * SLOTS);

      using _link = object.program('xdp_counter').attachXdp({ iface: receiver, netns: netns.path, mode });
      await sendFromEachCpu({ iface, receiver });
      expect(rowOf(map)).toEqual(EXPECTED);
    },
  );
});

describe('values whose size is no multiple of 8', () => {
  const DESTINATION = '02:01:02:03:04:05';
  const SOURCE = '02:0a:0b:0c:0d:0e';
  const LOCAL_EXPERIMENT = 0x88b5; // an EtherType of IEEE 802 that nobody handles

  /** Loads odd_value on the namespace's lo and sends from each CPU as many frames as its share. */
  async function written(): Promise<BpfObject> {
    netns.upLoopback();
    object = await loadObject(testObject('odd_value'));
    using _link = object.program('odd_value').attachXdp({ iface: 'lo', netns: netns.path, mode: 'skb' });
    const frame = frames.ethernet(LOCAL_EXPERIMENT, frames.bytes(50), {
      destination: DESTINATION,
      source: SOURCE,
    });
    for (const cpu of SENDERS) await sendFrames([{ frame, count: share(cpu) }], { netns, iface: 'lo', cpu });
    return object;
  }

  it('per-CPU array, 12 bytes: a slot of 16 for each possible CPU', { timeout: 60_000 }, async () => {
    const map = (await written()).map('odd_array');
    expect([map.type, map.keySize, map.valueSize]).toEqual(['percpu_array', 4, 12]);
    expect(map.slotSize).toBe(16 * SLOTS);
    for (let row = 0; row < 3; row++) {
      const found = value(map, row);
      expect(found.byteLength).toBe(16 * SLOTS);
      const words = view(found);
      const read = Array.from({ length: SLOTS }, (_, cpu) =>
        [0, 4, 8].map((offset) => words.getUint32(cpu * 16 + offset, LITTLE)),
      );
      const wrote = Array.from({ length: SLOTS }, (_, cpu) =>
        SENDERS.includes(cpu) ? [cpu, row, share(cpu)] : [0, 0, 0],
      );
      expect(read).toEqual(wrote);
    }
    expect(map.get(3)).toBeUndefined();
  });

  it('per-CPU hash, 20 bytes: a slot of 24 for each possible CPU', { timeout: 60_000 }, async () => {
    const map = (await written()).map('odd_percpu_hash');
    expect([map.type, map.keySize, map.valueSize]).toEqual(['percpu_hash', 4, 20]);
    expect(map.slotSize).toBe(24 * SLOTS);
    for (const key of [7, 0x01020304]) {
      const found = value(map, key);
      const words = view(found);
      expect(found.byteLength).toBe(24 * SLOTS);
      const read = Array.from({ length: SLOTS }, (_, cpu) => [
        ...[0, 4, 8].map((offset) => words.getUint32(cpu * 24 + offset, LITTLE)),
        Buffer.from(found.subarray(cpu * 24 + 12, cpu * 24 + 20)).toString('latin1'),
      ]);
      const wrote = Array.from({ length: SLOTS }, (_, cpu) =>
        SENDERS.includes(cpu) ? [cpu, key, share(cpu), 'odd-tail'] : [0, 0, 0, '\0'.repeat(8)],
      );
      expect(read).toEqual(wrote);

      const asBytes = new Uint8Array(4);
      view(asBytes).setUint32(0, key, LITTLE);
      expect(map.get(asBytes)).toEqual(found);
    }
    expect([...map.keys()].map((key) => view(key).getUint32(0, LITTLE)).sort()).toEqual(
      [7, 0x01020304].sort(),
    );
    expect(map.get(8)).toBeUndefined();
  });

  it('hash, 6-byte keys and 3-byte values: no padding anywhere', { timeout: 60_000 }, async () => {
    const map = (await written()).map('odd_hash');
    expect([map.type, map.keySize, map.valueSize, map.slotSize]).toEqual(['hash', 6, 3, 3]);
    const key = Uint8Array.of(2, 1, 2, 3, 4, 5);
    const expected = Uint8Array.of(0x0c, 0x0d, 0x0e);
    expect(map.get(key)).toEqual(expected);
    expect([...map.entries()]).toEqual([[key, expected]]);
    expect([...map.keys()]).toEqual([key]);

    const out = new Uint8Array(5).fill(0xaa);
    expect(map.getInto(key, out.subarray(1, 4))).toBe(true);
    expect(out).toEqual(Uint8Array.of(0xaa, 0x0c, 0x0d, 0x0e, 0xaa));
    out.fill(0xaa);
    expect(map.getInto(Uint8Array.of(9, 9, 9, 9, 9, 9), out)).toBe(false);
    expect(out).toEqual(new Uint8Array(5).fill(0xaa));
  });

  it('a reader that takes the size for the stride would be caught', { timeout: 60_000 }, async () => {
    const words = view(value((await written()).map('odd_array'), 2));
    const [, second] = SENDERS;
    if (second === undefined) return; // one CPU: there is no second slot to miss
    expect(words.getUint32(second * 12 + 8, LITTLE)).not.toBe(share(second));
  });
});

describe('a buffer that is one byte too short', () => {
  /** strace(1) on this very process: every bpf(2) of every thread while `body` runs. */
  async function traced(body: () => void): Promise<string[]> {
    const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-'));
    const file = join(folder, 'bpf.strace');
    const child = spawn('strace', ['-f', '-e', 'trace=bpf', '-o', file, '-p', `${process.pid}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(child, 'close');
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    try {
      await until(
        () => {
          if (child.exitCode !== null) throw new Error(`strace ended: ${said}`);
          return /Process \d+ attached/.test(said);
        },
        () => `strace did not attach: ${said}`,
      );
      body();
    } finally {
      child.kill('SIGINT');
      await ended;
    }
    const lines = readFileSync(file, 'utf8').split('\n');
    rmSync(folder, { recursive: true });
    return lines.filter((line) => line.includes('bpf('));
  }

  it.each([
    ['packet_counters', 'xdp_counter', shippedObject, 0],
    ['odd_array', 'odd_value', testObject, 0],
    ['odd_percpu_hash', 'odd_value', testObject, 7],
    ['odd_hash', 'odd_value', testObject, Uint8Array.of(2, 0, 0, 0, 0, 0x0b)],
  ] as const)(
    'is a RangeError before any system call: %s',
    { timeout: 60_000 },
    async (name, source, path, key) => {
      object = await loadObject(path(source));
      object.program(source).run({ data: frames.udp4() }); // the key is there: only the buffer is wrong
      const map = object.map(name);
      const backing = new Uint8Array(map.slotSize + 8).fill(0xaa);
      const exact = new Uint8Array(map.slotSize);

      const calls = await traced(() => {
        expect(map.getInto(key, exact)).toBe(true);
        for (const length of [map.slotSize - 1, 0]) {
          expect(() => map.getInto(key, backing.subarray(0, length))).toThrow(RangeError);
        }
        expect(map.getInto(key, exact)).toBe(true);
      });
      // The two good ones show that the trace sees lookups at all; the short ones must add nothing between
      // them.
      expect(calls.map((line) => /bpf\((\w+)/.exec(line)?.[1])).toEqual([
        'BPF_MAP_LOOKUP_ELEM',
        'BPF_MAP_LOOKUP_ELEM',
      ]);
      expect(backing).toEqual(new Uint8Array(map.slotSize + 8).fill(0xaa));
    },
  );

  it('as long as the value but not as the slots of all CPUs is too short as well', {
    timeout: 60_000,
  }, async () => {
    object = await loadObject(testObject('odd_value'));
    const map = object.map('odd_array');
    const backing = new Uint8Array(map.slotSize).fill(0xaa);
    for (const length of [12, 16 * SLOTS - 1, 12 * SLOTS]) {
      if (length < map.slotSize)
        expect(() => map.getInto(0, backing.subarray(0, length))).toThrow(RangeError);
    }
    expect(backing).toEqual(new Uint8Array(map.slotSize).fill(0xaa));
  });
});
