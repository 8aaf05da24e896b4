import { endianness } from 'node:os';
import { Writable } from 'node:stream';
import { describe, expect, it, test } from 'vitest';
import { hex, keyBytes, parseKey } from '../../lib/cli/map/key.ts';
import { fieldList } from '../../lib/cli/map/map.ts';
import { MapMeter, type MapRow, type Rows } from '../../lib/cli/map/meter.ts';
import { idOf } from '../../lib/cli/map/name.ts';
import { rowWords } from '../../lib/cli/map/row.ts';
import { mapFrame, type WatchedMap } from '../../lib/cli/map/watch.ts';
import { wholeNumber } from '../../lib/cli/terminal/arguments.ts';
import { EbpfError } from '../../lib/core/errors.ts';

const LITTLE = endianness() === 'LE';

describe('a key', () => {
  test.each([
    ['0a:00:00:01', '0a:00:00:01'],
    ['A:0:0:1', '0a:00:00:01'],
    ['0x0A000001', '0a:00:00:01'],
    ['0x0a', '0a'],
  ])('%s is the bytes %s', (text, bytes) => {
    const key = keyBytes(parseKey(text), bytes.split(':').length);
    expect(hex(key)).toBe(bytes);
  });

  test.each([
    ['7', 1, '07'],
    ['258', 2, '02:01'],
    ['16909060', 4, '04:03:02:01'],
    ['18446744073709551615', 8, 'ff:ff:ff:ff:ff:ff:ff:ff'],
    ['1', 8, '01:00:00:00:00:00:00:00'],
  ])('%s in %d bytes is %s', (text, size, little) => {
    const bytes = LITTLE ? little : little.split(':').reverse().join(':');
    expect(hex(keyBytes(parseKey(text), size))).toBe(bytes);
  });

  test.each([
    '',
    ' ',
    '-1',
    '1.5',
    '1e3',
    'abc',
    '0x',
    '0xa',
    '0x0a:01',
    '0a:',
    ':0a',
    '0a:001',
    'g0:00',
    '10.0.0.1',
    '١',
  ])('%j is none', (text) =>
    expect(() => parseKey(text)).toThrow('Expected a number, or bytes such as 0a:00:00:01'),
  );

  test.each([
    ['0a:00', 4, 'Expected a key of 4 bytes but received 2.'],
    ['256', 1, 'Expected a key of 1 bytes but received 256.'],
    ['4294967296', 4, 'Expected a key of 4 bytes but received 4294967296.'],
    ['18446744073709551616', 8, 'Expected a key of 8 bytes but received 18446744073709551616.'],
    ['1', 6, 'Expected the 6 bytes of the key, such as 0a:00:00:01, but received a number.'],
  ])('%s does not fit %d bytes', (text, size, message) =>
    expect(() => keyBytes(parseKey(text), size)).toThrow(message),
  );
});

describe('a name', () => {
  const maps = [
    { id: 3, name: 'flows' },
    { id: 5, name: 'packet_counters' },
    { id: 8, name: 'flows' },
    { id: 9, name: '' },
  ];
  const failure = (name: string): EbpfError => {
    try {
      idOf(name, maps);
    } catch (error) {
      if (error instanceof EbpfError) return error;
    }
    throw new Error('found');
  };

  it('finds the one map that has it, as the kernel cuts it', () => {
    expect(idOf('packet_counters', maps)).toBe(5);
    expect(idOf('packet_counters_of_mine', maps)).toBe(5);
  });

  it('of several maps is an error with their ids', () => {
    expect(failure('flows')).toMatchObject({
      code: 'ERR_EBPF_AMBIGUOUS',
      hint: 'name one by its ID: 3, 8',
    });
  });

  it('of none is an error with those that there are', () => {
    expect(failure('flow')).toMatchObject({
      code: 'ERR_EBPF_NO_MAP',
      hint: 'it has flows, packet_counters',
      message: 'the kernel has no map "flow"',
    });
    expect(() => idOf('x', [])).toThrow('the kernel has no map "x"');
  });
});

test('fields are names and offsets', () => {
  expect(fieldList('packets, bytes,8,slots[3],ipv4.bytes')).toEqual([
    'packets',
    'bytes',
    8,
    'slots[3]',
    'ipv4.bytes',
  ]);
  for (const text of ['', ',', 'a,,b', 'a,']) expect(() => fieldList(text)).toThrow('separated by commas');
});

test('a limit is a whole number above 0', () => {
  const limit = wholeNumber({ least: 1 });
  expect(limit('12')).toBe(12);
  for (const text of ['', '0', '-1', '1.5', '1e3', 'x']) {
    expect(() => limit(text)).toThrow('Expected a whole number of at least 1.');
  }
});

test('a row in words', () => {
  expect(rowWords({ key: 3, values: { packets: 12, bytes: '18446744073709551616' } })).toBe(
    '3: packets=12 bytes=18446744073709551616',
  );
  expect(rowWords({ key: '0a:01', cpu: 2, value: 'ff' })).toBe('0a:01 cpu 2: ff');
  expect(rowWords({ key: 0, values: { 'a\x1b': 1 } })).toBe('0: a\\u{1b}=1');
});

/** A reader of one-byte keys. */
class FakeRows implements Rows {
  keys = new Uint8Array(8);
  values = new Float64Array(16);
  readonly fields: number;
  readonly cpus: number;
  rows = 0;

  constructor(fields: number, cpus: number) {
    this.fields = fields;
    this.cpus = cpus;
  }

  set(rows: readonly (readonly [key: number, ...values: number[]])[]): void {
    this.rows = rows.length;
    for (const [row, [key, ...values]] of rows.entries()) {
      this.keys[row] = key;
      this.values.set(values, row * values.length);
    }
  }

  read(): number {
    return this.rows;
  }
}

describe('MapMeter', () => {
  const shape = { keySize: 1, perCpu: false, keyOf: (key: Uint8Array) => key[0] ?? -1 };

  it('gives each key its own rate, wherever its row is', () => {
    let now = 1000;
    const reader = new FakeRows(2, 1);
    reader.set([
      [7, 100, 1],
      [9, 50, 2],
    ]);
    const meter = new MapMeter(reader, shape, () => now);
    expect(meter.sample().rows.map(({ rates, changed }) => [rates, changed])).toEqual([
      [[0, 0], false],
      [[0, 0], false],
    ]);
    now += 2000;
    // 7 comes second now, 9 is gone, 8 is new.
    reader.set([
      [8, 10, 0],
      [7, 130, 1],
    ]);
    const { rows, elapsed } = meter.sample();
    expect(elapsed).toBe(2);
    expect(rows).toEqual([
      { key: 8, values: [10, 0], rates: [5, 0], changed: true },
      { key: 7, values: [130, 1], rates: [15, 0], changed: true },
    ]);
    now += 500;
    reader.set([[7, 120, 1]]);
    expect(meter.sample().rows).toEqual([{ key: 7, values: [120, 1], rates: [-20, 0], changed: true }]);
    now += 500;
    expect(meter.sample().rows[0]?.changed).toBe(false);
  });

  it('tells CPUs apart, and gives 0 where no time has passed', () => {
    const reader = new FakeRows(1, 2);
    reader.set([[1, 5, 6]]);
    const meter = new MapMeter(reader, { ...shape, perCpu: true }, () => 1);
    meter.sample();
    reader.set([[1, 6, 6]]);
    expect(meter.sample().rows).toEqual([
      { key: 1, cpu: 0, values: [6], rates: [0], changed: false },
      { key: 1, cpu: 1, values: [6], rates: [0], changed: false },
    ]);
  });
});

describe('the table of map watch', () => {
  const map: WatchedMap = {
    id: 17,
    name: 'flows',
    type: 'hash',
    fields: ['packets', 'bytes'],
    perCpu: false,
  };
  const plain = new Writable(); // no terminal: no colours
  const row = (key: number, packets: number): MapRow => ({
    key,
    values: [packets, packets * 100],
    rates: [packets / 10, packets * 10],
    changed: true,
  });
  const draw = (rows: MapRow[], lines = 24, columns = 80, final = false) =>
    mapFrame(map, { time: new Date(0), elapsed: 3, rows }, final, { rows: lines, columns, stream: plain });

  it('has values and rates', () => {
    expect(draw([row(1, 12_345), row(2, 5)])).toMatchInlineSnapshot(`
      [
        "map 17 "flows"  hash  3.0 s",
        "",
        "key  packets     /s      bytes       /s",
        "1     12,345  1,235  1,234,500  123,450",
        "2          5    0.5        500       50",
        "",
        "^C ends",
      ]
    `);
    expect(draw([row(1, 1)], 24, 80, true).at(-1)).toMatch(/^1 +1 +0\.1/);
  });

  it('shows those that change fastest where there is no room, in the order of the map', () => {
    const rows = Array.from({ length: 100 }, (_, key) => row(key, key === 40 || key === 10 ? 1000 : key));
    const drawn = draw(rows, 8);
    expect(drawn.map((line) => line.split(' ')[0])).toEqual(['map', '', 'key', '10', '40', '', 'and']);
    expect(drawn.at(-1)).toBe('and 98 rows more; ^C ends');
  });

  it('never needs more cells or lines than there are', () => {
    const rows = Array.from({ length: 50 }, (_, key) => row(key, 1e6));
    for (let columns = 1; columns <= 120; columns += 3) {
      for (const lines of [1, 5, 50]) {
        const drawn = draw(rows, lines, columns);
        expect(drawn.length).toBeLessThanOrEqual(Math.max(lines - 1, 1));
        for (const line of drawn) expect(line.length).toBeLessThan(Math.max(columns, 1));
      }
    }
  });
});
