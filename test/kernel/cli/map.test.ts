// maps, and map dump, get and watch, as processes of their own; what is true is bpftool's word.
import { spawnSync } from 'node:child_process';
import { endianness } from 'node:os';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import type { RowLine } from '../../../lib/cli/map/row.ts';
import { MapFlags, type MapInfo } from '../../../lib/core/map-spec.ts';
import { BpfMap, possibleCpus } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { CLI } from '../../helpers/child.ts';
import { Command, endCommands } from '../../helpers/command.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, bpftool, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';
import { until } from '../../helpers/until.ts';

const LITTLE = endianness() === 'LE';
const UDP = frames.udp4(frames.bytes(100));
const UDP_ROW = 1;

// Names of this process alone: other runs of these tests may be on the machine, and what has one name is found by none.
const TAG = process.pid.toString(36);
const [HASH, TRIE, RING, BIG, TWIN] = ['hash', 'trie', 'ring', 'big', 'twin'].map(
  (noun) => `${noun}_${TAG}`,
) as [string, string, string, string, string];

let before: Snapshot;
let bpffs: Bpffs;
let object: BpfObject;
let counters: BpfMap;
const made: BpfMap[] = [];

beforeAll(() => {
  before = snapshotIds([HASH, TRIE, RING, BIG, TWIN]);
});
beforeEach(async () => {
  bpffs = new Bpffs();
  object = await loadObject(shippedObject('xdp_counter'));
  counters = object.map('packet_counters');
});
afterEach(() => {
  endCommands();
  for (const map of made.splice(0)) map.close();
  object.close();
  bpffs.close();
});
afterAll(() => assertNothingLeft(before));

function create(spec: Parameters<typeof BpfMap.create>[0]): BpfMap {
  const map = BpfMap.create(spec);
  made.push(map);
  return map;
}

function count(packets: number): void {
  object.program('xdp_counter').run({ data: UDP, repeat: packets });
}

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

const environment = { ...process.env, NO_COLOR: '1', TZ: 'UTC', TERM: 'xterm-256color' };

function cli(args: readonly string[], prefix: readonly string[] = []): Ended {
  const [command = '', ...rest] = [...prefix, process.execPath, CLI, ...args];
  const { status, stdout, stderr } = spawnSync(command, rest, {
    encoding: 'utf8',
    env: environment,
    maxBuffer: 2 ** 26,
  });
  return { status, stdout, stderr };
}

function lines(...args: string[]): string[] {
  const { status, stdout, stderr } = cli(args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.split('\n').slice(0, -1);
}

function json<T>(...args: string[]): T[] {
  return lines(...args, '--json').map((line) => JSON.parse(line) as T);
}

/** One error line, one hint line, and the status. */
function refused(status: number, args: readonly string[], prefix: readonly string[] = []): string {
  const ended = cli(args, prefix);
  expect({ status: ended.status, stdout: ended.stdout }).toEqual({ status, stdout: '' });
  expect(ended.stderr).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
  expect(ended.stderr).not.toContain('bug in node-ebpf');
  return ended.stderr;
}

const going = (...args: string[]) => new Command([process.execPath, CLI, ...args]);

interface Shown {
  id: number;
  type: string;
  name: string;
  bytes_key: number;
  bytes_value: number;
  max_entries: number;
  bytes_memlock: number;
}

interface Dumped {
  key: string[];
  value?: string[];
  values?: { cpu: number; value: string[] }[];
}

const buffer = (bytes: readonly string[]): Buffer => Buffer.from(bytes.map(Number));
const words = (bytes: readonly string[]): string => bytes.map((byte) => byte.slice(2)).join(':');

/** Each row's packets and bytes on each CPU, by bpftool. */
function talliesOf(map: BpfMap): { packets: number; bytes: number }[][] {
  return bpftool<Dumped[]>('map', 'dump', 'id', String(map.id)).map(({ values = [] }) =>
    values.map(({ value }) => {
      const read = (at: number) =>
        Number(LITTLE ? buffer(value).readBigUInt64LE(at) : buffer(value).readBigUInt64BE(at));
      return { packets: read(0), bytes: read(8) };
    }),
  );
}

function sums(map: BpfMap): { packets: number; bytes: number }[] {
  return talliesOf(map).map((cpus) => ({
    packets: cpus.reduce((sum, { packets }) => sum + packets, 0),
    bytes: cpus.reduce((sum, { bytes }) => sum + bytes, 0),
  }));
}

describe('maps', () => {
  it('lists what bpftool lists', () => {
    const hash = create({ name: HASH, type: 'hash', keySize: 6, valueSize: 3, maxEntries: 77 });
    const ours = [counters.id, hash.id];
    const { maps } = json<{ maps: MapInfo[] }>('maps')[0] ?? { maps: [] };
    const shown = ours.map((id) => bpftool<Shown>('map', 'show', 'id', String(id)));
    expect(maps.filter(({ id }) => ours.includes(id))).toMatchObject(
      shown.map((map) => ({
        id: map.id,
        type: map.type,
        name: map.name,
        maxEntries: map.max_entries,
        keySize: map.bytes_key,
        valueSize: map.bytes_value,
        memoryBytes: map.bytes_memlock,
      })),
    );
    const [head, ...rows] = lines('maps');
    expect(head).toMatch(/^ +id +type +name +key +value +entries +memory$/);
    const row = rows.find((text) => text.trimStart().startsWith(`${hash.id} `));
    expect(row).toMatch(new RegExp(`^ *\\d+ +hash +${HASH} +6 B +3 B +77 +[\\d.]+ k?B$`));
  });
});

describe('a map is named', () => {
  it('by id, by name, and by the path of its pin', () => {
    const hash = create({ name: HASH, type: 'hash', keySize: 4, valueSize: 4, maxEntries: 8 });
    hash.set(Uint8Array.of(1, 2, 3, 4), Uint8Array.of(5, 6, 7, 8));
    hash.pin(bpffs.at('flows'));
    const row = ['01:02:03:04: 05:06:07:08'];
    for (const name of [String(hash.id), HASH, bpffs.at('flows')]) {
      expect(lines('map', 'dump', name)).toEqual(row);
    }
  });

  it('by a name that one has: of several, the error lists the ids', () => {
    const spec = { name: TWIN, type: 'array', keySize: 4, valueSize: 8, maxEntries: 1 };
    const twins = [create(spec), create(spec)];
    const said = refused(1, ['map', 'dump', TWIN]);
    expect(said).toContain(`error: the kernel has 2 maps "${TWIN}"\n`);
    expect(said).toContain(`hint: name one by its ID: ${twins.map(({ id }) => id).join(', ')}\n`);
    expect(JSON.parse(refusedJson(['map', 'watch', TWIN]))).toMatchObject({
      error: { code: 'ERR_EBPF_AMBIGUOUS' },
    });
  });

  it('or there is none, and the nearest names are told', () => {
    create({ name: HASH, type: 'hash', keySize: 4, valueSize: 4, maxEntries: 8 });
    expect(refused(1, ['map', 'get', `${HASH}x`, '1'])).toMatch(
      new RegExp(`^error: the kernel has no map "${HASH}x"\nhint: it has ${HASH}`),
    );
    expect(refused(1, ['map', 'dump', '4294967295'])).toContain('no such id');
    expect(refused(1, ['map', 'dump', '4294967296'])).toContain('no map "4294967296"');
    expect(refused(1, ['map', 'dump', bpffs.at('gone')])).toContain(bpffs.at('gone'));
  });

  it('without CAP_SYS_ADMIN only by its pin, and its values are bytes then', () => {
    const prefix = ['setpriv', '--bounding-set=-sys_admin'];
    for (const args of [
      ['maps'],
      ['map', 'dump', 'packet_counters'],
      ['map', 'get', String(counters.id), '1'],
      ['map', 'watch', String(counters.id)],
    ]) {
      const said = refused(1, args, prefix);
      expect(said).toMatch(/^hint: .*CAP_SYS_ADMIN/m);
    }
    const hash = create({ name: HASH, type: 'hash', keySize: 4, valueSize: 4, maxEntries: 8 });
    hash.set(7, Uint8Array.of(5, 6, 7, 8));
    hash.pin(bpffs.at('flows'));
    counters.pin(bpffs.at('counters'));
    const ended = cli(['map', 'get', bpffs.at('flows'), '7'], prefix);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout).toMatch(/: 05:06:07:08\n$/);
    expect(cli(['map', 'get', bpffs.at('counters'), '3'], prefix)).toEqual({
      status: 0,
      stderr: '',
      stdout: '3: 0=0 8=0\n',
    });
  });

  function refusedJson(args: readonly string[]): string {
    return cli([...args, '--json']).stderr;
  }
});

describe('map dump', () => {
  it('adds up the CPUs of what BTF names, or tells them apart', () => {
    count(1000);
    const expected = sums(counters);
    expect(expected[UDP_ROW]).toEqual({ packets: 1000, bytes: 1000 * UDP.length });
    const id = String(counters.id);
    expect(json('map', 'dump', id)).toEqual(expected.map((values, key) => ({ key, values })));
    expect(lines('map', 'dump', id)).toEqual(
      expected.map(({ packets, bytes }, key) => `${key}: packets=${packets} bytes=${bytes}`),
    );
    const perCpu = talliesOf(counters).flatMap((cpus, key) =>
      cpus.map((values, cpu) => ({ key, cpu, values })),
    );
    expect(json('map', 'dump', id, '--per-cpu')).toEqual(perCpu);
    expect(lines('map', 'dump', id, '--per-cpu')[0]).toBe('0 cpu 0: packets=0 bytes=0');
  });

  it('shows the bytes of what has no BTF', () => {
    const trie = create({
      name: TRIE,
      type: 'lpm_trie',
      keySize: 8,
      valueSize: 3,
      maxEntries: 8,
      flags: MapFlags.NO_PREALLOC,
    });
    trie.set(Uint8Array.of(24, 0, 0, 0, 10, 1, 2, 0), Uint8Array.of(1, 2, 3));
    trie.set(Uint8Array.of(8, 0, 0, 0, 10, 0, 0, 0), Uint8Array.of(4, 5, 6));
    const told = bpftool<Required<Dumped>[]>('map', 'dump', 'id', String(trie.id));
    expect(told).toHaveLength(2);
    const rows = told.map(({ key, value }) => ({ key: words(key), value: words(value) }));
    expect(json<RowLine>('map', 'dump', TRIE).sort(byKey)).toEqual(rows.sort(byKey));
  });

  it.each([
    [8, [1n, 2n ** 63n]],
    [4, [7n]],
  ])('adds up %d-byte numbers of each CPU where nothing is known of them', (valueSize, numbers) => {
    const cpus = possibleCpus();
    const hash = create({ name: HASH, type: 'percpu_hash', keySize: 2, valueSize, maxEntries: 8 });
    for (const [row, number] of numbers.entries()) {
      const slot = new DataView(new ArrayBuffer(hash.slotSize));
      for (let cpu = 0; cpu < cpus; cpu++) {
        if (valueSize === 8) slot.setBigUint64(8 * cpu, number, LITTLE);
        else slot.setUint32(8 * cpu, Number(number), LITTLE);
      }
      hash.set(Uint8Array.of(row, 9), new Uint8Array(slot.buffer));
    }
    // A sum above 2^53 is text, and exact.
    const rows = numbers.map((number, row) => {
      const sum = number * BigInt(cpus);
      const name = valueSize === 8 ? '0' : 'value';
      return { key: `0${row}:09`, values: { [name]: sum > 2n ** 53n ? String(sum) : Number(sum) } };
    });
    expect(json<RowLine>('map', 'dump', HASH).sort(byKey)).toEqual(rows);
    expect(json<RowLine>('map', 'dump', HASH, '--per-cpu')).toHaveLength(numbers.length * cpus);
  });

  it('tells each CPU apart where nothing can be added up', () => {
    const hash = create({ name: HASH, type: 'percpu_hash', keySize: 4, valueSize: 3, maxEntries: 8 });
    hash.set(Uint8Array.of(1, 2, 3, 4), new Uint8Array(hash.slotSize).fill(0xab));
    expect(json('map', 'dump', HASH)).toEqual(
      Array.from({ length: possibleCpus() }, (_, cpu) => ({ key: '01:02:03:04', cpu, value: 'ab:ab:ab' })),
    );
  });

  it('has every member, the odd ones too, with their signs', async () => {
    using odd = await loadObject(testObject('odd_value'));
    odd.program('odd_value').run({ data: UDP, repeat: 3 });
    const map = odd.map('odd_array');
    const rows = json<RowLine>('map', 'dump', String(map.id), '--per-cpu');
    expect(rows).toHaveLength(3 * possibleCpus());
    const ran = rows.filter(({ values }) => values?.runs !== 0);
    expect(ran.map(({ key, cpu, values }) => ({ key, cpu, values }))).toEqual(
      [0, 1, 2].map((row) => ({
        key: row,
        cpu: ran[0]?.cpu,
        values: { cpu: ran[0]?.cpu, row, runs: 3 },
      })),
    );
  });

  it('stops at --limit, and when nobody reads', async () => {
    const big = create({ name: BIG, type: 'array', keySize: 4, valueSize: 8, maxEntries: 100_000 });
    expect(lines('map', 'dump', BIG, '--limit', '5')).toHaveLength(5);
    expect(lines('map', 'dump', BIG, '--limit', '5000').at(-1)).toMatch(/^4999: /);
    expect(lines('map', 'dump', String(big.id))).toHaveLength(100_000);
    const cut = new Command(['sh', '-c', `${process.execPath} ${CLI} map dump ${BIG} | head -n 1`]);
    expect(await cut.ended).toMatchObject({ status: 0, stderr: '', stdout: '0: 00:00:00:00:00:00:00:00\n' });
  });

  it('says that a map has no keys', () => {
    create({ name: RING, type: 'ringbuf', keySize: 0, valueSize: 0, maxEntries: 4096 });
    for (const args of [
      ['dump', RING],
      ['get', RING, '1'],
      ['watch', RING],
    ]) {
      expect(refused(1, ['map', ...args])).toMatch(new RegExp(`^error: read map ${RING}: a ringbuf map `));
    }
  });

  it('refuses --per-cpu where there is one value', () => {
    create({ name: HASH, type: 'hash', keySize: 4, valueSize: 8, maxEntries: 8 });
    for (const args of [
      ['dump', HASH],
      ['get', HASH, '1'],
      ['watch', HASH],
    ]) {
      expect(refused(2, ['map', ...args, '--per-cpu'])).toContain(`${HASH} is of type hash`);
    }
  });
});

describe('map get', () => {
  it('takes a number, or bytes as they are in memory', () => {
    const hash = create({ name: HASH, type: 'hash', keySize: 4, valueSize: 2, maxEntries: 8 });
    hash.set(0x0a00_0001, Uint8Array.of(0xca, 0xfe));
    const key = LITTLE ? '01:00:00:0a' : '0a:00:00:01';
    for (const text of [String(0x0a00_0001), key, `0x${key.replaceAll(':', '')}`]) {
      expect(lines('map', 'get', HASH, text)).toEqual([`${key}: ca:fe`]);
    }
    expect(json('map', 'get', HASH, key)).toEqual([{ key, value: 'ca:fe' }]);
  });

  it('tells the fields of one row, and of each CPU', () => {
    count(10);
    const id = String(counters.id);
    expect(json('map', 'get', id, '1')).toEqual([{ key: 1, values: sums(counters)[UDP_ROW] }]);
    expect(json('map', 'get', id, '1', '--per-cpu')).toEqual(
      talliesOf(counters)[UDP_ROW]?.map((values, cpu) => ({ key: 1, cpu, values })),
    );
  });

  it('fails with status 1 where the key is not there', () => {
    expect(cli(['map', 'get', String(counters.id), '4'])).toEqual({
      status: 1,
      stderr: '',
      stdout: 'packet_counters has no key 4\n',
    });
    const { status, stdout } = cli(['map', 'get', String(counters.id), '4', '--json']);
    expect({ status, told: JSON.parse(stdout) }).toEqual({ status: 1, told: { key: 4, value: null } });
  });

  test.each([
    [4, 'abc', 'Expected a number, or bytes such as 0a:00:00:01'],
    [4, '01:02', 'Expected a key of 4 bytes but received 2.'],
    [4, '4294967296', 'Expected a key of 4 bytes but received 4294967296.'],
    [6, '1', 'Expected the 6 bytes of the key'],
  ])('of %d bytes refuses %s, with status 2', (keySize, key, message) => {
    create({ name: HASH, type: 'hash', keySize, valueSize: 2, maxEntries: 8 });
    expect(refused(2, ['map', 'get', HASH, key])).toContain(message);
  });
});

interface Watched {
  time: string;
  map: { id: number; name: string };
  rows: {
    key: number | string;
    cpu?: number;
    values: Record<string, number>;
    rates: Record<string, number>;
  }[];
}

describe('map watch', () => {
  const watched = (command: Command): Watched[] => command.lines.map((line) => JSON.parse(line) as Watched);

  it("has the kernel's values at each look, and rates of them", async () => {
    const command = going('map', 'watch', String(counters.id), '--interval', '0.2', '--json');
    await until(() => command.lines.length > 0);
    count(500);
    const looks = command.lines.length;
    await until(() => command.lines.length > looks + 1);
    command.child.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ status: 0, stderr: '' });
    const all = watched(command);
    const last = all.at(-1);
    expect(last?.map).toEqual({ id: counters.id, name: 'packet_counters' });
    expect(last?.rows.map(({ key, values }) => ({ key, values }))).toEqual(
      sums(counters).map((values, key) => ({ key, values })),
    );
    const moved = all.filter(({ rows }) => rows[UDP_ROW]?.rates.packets !== 0);
    expect(moved.length).toBeGreaterThan(0);
    for (const { rows } of moved) {
      const { bytes = 0, packets = 0 } = rows[UDP_ROW]?.rates ?? {};
      expect(bytes / UDP.length).toBeCloseTo(packets, 1);
    }
    for (const { time } of all) expect(new Date(time).toISOString()).toBe(time);
  });

  it('reads the fields that are asked for, of each CPU', async () => {
    count(50);
    const args = ['--fields', 'bytes', '--per-cpu', '--seconds', '0.1', '--json'];
    const command = going('map', 'watch', String(counters.id), ...args);
    expect(await command.ended).toMatchObject({ status: 0, stderr: '' });
    const [look] = watched(command);
    expect(look?.rows.map(({ rates: _, ...row }) => row)).toEqual(
      talliesOf(counters).flatMap((cpus, key) =>
        cpus.map(({ bytes }, cpu) => ({ key, cpu, values: { bytes } })),
      ),
    );
  });

  it('writes a line for each row that changed into a pipe', async () => {
    const hash = create({ name: HASH, type: 'hash', keySize: 4, valueSize: 8, maxEntries: 8 });
    hash.set(Uint8Array.of(1, 2, 3, 4), new Uint8Array(8));
    const command = going('map', 'watch', HASH, '--interval', '0.1');
    await command.says('1 row;');
    hash.set(
      Uint8Array.of(5, 6, 7, 8),
      Uint8Array.of(...(LITTLE ? [9, 0, 0, 0, 0, 0, 0, 0] : [0, 0, 0, 0, 0, 0, 0, 9])),
    );
    await command.says('05:06:07:08');
    command.child.kill('SIGINT');
    const { status, stdout, stderr } = await command.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const [title, row, end, ...more] = stdout.split('\n');
    expect(title).toBe(`map ${hash.id} "${HASH}": 1 row; rows that change, with rates per second`);
    expect(row).toMatch(/^\d\d:\d\d:\d\d 05:06:07:08: 0=9 \([\d.]+\/s\)$/);
    expect(end).toMatch(/^2 rows after [\d.]+ s$/);
    expect(more).toEqual(['']);
  });

  it('ends quietly when nobody reads any more', async () => {
    const command = going('map', 'watch', String(counters.id), '--interval', '0.1', '--json');
    await until(() => command.lines.length > 0);
    command.child.stdout?.destroy();
    expect(await command.ended).toMatchObject({ status: 0, stderr: '' });
  });

  it('names the fields that there are', () => {
    expect(refused(1, ['map', 'watch', String(counters.id), '--fields', 'packetz'])).toMatch(
      /have no field "packetz"\nhint: they have packets, bytes\n$/,
    );
    expect(refused(2, ['map', 'watch', String(counters.id), '--fields', 'packets,'])).toContain(
      'Expected names or offsets, separated by commas.',
    );
  });

  it('draws a table in place on a terminal, and gives the cursor back', async () => {
    count(700);
    const command = `stty cols 80 rows 24; exec ${process.execPath} ${CLI} map watch ${counters.id} --seconds 0.5 --interval 0.2`;
    const { status, stdout } = await new Command(['script', '-qec', command, '/dev/null']).ended;
    expect(status).toBe(0);
    expect(stdout.split('\x1b[?25l')).toHaveLength(2);
    expect(stdout.trimEnd().endsWith('\x1b[?25h')).toBe(true);
    const [first = '', last = ''] = [1, -1].map((at) => stdout.split('\x1b[0J').at(at));
    expect(first).toContain('^C ends');
    expect(last).not.toContain('^C ends');
    const plain = stripVTControlCharacters(last);
    expect(plain).toMatch(new RegExp(`^map ${counters.id} "packet_counters"  percpu_array  [\\d.]+ s`));
    expect(plain).toMatch(/^key +packets +\/s +bytes +\/s\r?$/m);
    expect(plain).toMatch(/^1 +700 +0 +99,400 +0\r?$/m);
  });
});

function byKey(a: RowLine, b: RowLine): number {
  return String(a.key) < String(b.key) ? -1 : 1;
}
