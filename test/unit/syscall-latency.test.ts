import { existsSync, readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { describe, expect, it, test } from 'vitest';
import { heatStrip, latencyFrame } from '../../lib/cli/latency/frame.ts';
import { processId, syscallNames } from '../../lib/cli/latency/latency.ts';
import { EbpfAttachError, EbpfLoadError, EbpfNotSupportedError } from '../../lib/core/errors.ts';
import { latency as latencyWords } from '../../lib/format/units.ts';
import { kernelDevice } from '../../lib/kernel/pid-namespace.ts';
import { LatencyMeter, meanRates } from '../../lib/meters/latency-meter.ts';
import { Log2Histogram } from '../../lib/programs/log2-histogram.ts';
import {
  firstFlavour,
  type LostCalls,
  type SyscallFlavour,
  SyscallLatency,
} from '../../lib/programs/syscall-latency.ts';
import { rowsByNumber, SYSCALLS } from '../../lib/programs/syscall-numbers.ts';
import { caught, rejection } from '../helpers/caught.ts';
import { xorshift } from '../helpers/random.ts';

/** As the kernel fills it. */
function histogram(times: readonly number[]): Log2Histogram {
  const slots = new Float64Array(36);
  for (const ns of times) {
    const slot = Math.min(ns < 2 ? 0 : Math.floor(Math.log2(ns)), 35);
    slots[slot] = (slots[slot] ?? 0) + 1;
  }
  const sum = times.reduce((total, ns) => total + ns, 0);
  return new Log2Histogram(times.length, sum, slots);
}

describe('percentile', () => {
  it('is the middle of the slot that holds the call, within √2', () => {
    const calls = histogram([600, 600, 600, 5_000]);
    expect(calls.percentile(50)).toEqual({ ns: 512 * Math.SQRT2, errorFactor: Math.SQRT2 });
    expect(calls.percentile(75)).toEqual({ ns: 512 * Math.SQRT2, errorFactor: Math.SQRT2 });
    expect(calls.percentile(75.1)).toEqual({ ns: 4096 * Math.SQRT2, errorFactor: Math.SQRT2 });
    expect(calls.percentile(100)).toEqual({ ns: 4096 * Math.SQRT2, errorFactor: Math.SQRT2 });
  });

  it('holds what it says of every call, of times at random', () => {
    const seed = Math.trunc(Math.random() * 0x7fff_ffff) || 1;
    const random = xorshift(seed);
    const times = Array.from({ length: 5_000 }, () => 2 + random(2 ** (2 + random(28))));
    const sorted = [...times].sort((a, b) => a - b);
    const calls = histogram(times);
    const wrong = [0.01, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99, 100].filter((p) => {
      const truth = sorted[Math.ceil((p / 100) * times.length) - 1] ?? 0;
      const { ns, errorFactor } = calls.percentile(p);
      return !(truth >= (ns / errorFactor) * (1 - 1e-12) && truth <= ns * errorFactor * (1 + 1e-12));
    });
    expect(wrong, `seed ${seed}`).toEqual([]);
  });

  it('knows no bound in the first slot and in the last', () => {
    expect(histogram([0]).percentile(50)).toEqual({ ns: Math.SQRT2, errorFactor: Number.POSITIVE_INFINITY });
    expect(histogram([1e12]).percentile(50)).toEqual({
      ns: 2 ** 35 * Math.SQRT2,
      errorFactor: Number.POSITIVE_INFINITY,
    });
  });

  it('is of nothing where nothing was counted', () => {
    expect(histogram([]).percentile(50)).toEqual({ ns: Number.NaN, errorFactor: Number.NaN });
  });

  it('counts by the slots, whatever the count says of calls that are being added', () => {
    const { sumNs, slots } = histogram([600, 5_000]);
    expect(new Log2Histogram(3, sumNs, slots).percentile(100).ns).toBe(4096 * Math.SQRT2);
  });

  test.each([0, -1, 100.1, Number.NaN])('refuses %s', (p) => {
    expect(caught(() => histogram([1]).percentile(p))).toMatchObject({
      name: 'RangeError',
      message: `Expected a percentage above 0 and up to 100 but received ${p}`,
    });
  });
});

test('since() is what came after', () => {
  const later = histogram([600, 600, 5_000, 70]);
  expect(later.since(histogram([600, 70]))).toEqual(histogram([600, 5_000]));
  expect(later.since(later).percentile(50).ns).toBeNaN();
});

describe('the numbers of system calls', () => {
  // As the C library's headers have them: linux-libc-dev.
  function headerNumbers(file: string): Record<string, number> {
    const found = readFileSync(file, 'utf8').matchAll(/^#define __NR_(\w+)\s+(\d+)$/gm);
    return Object.fromEntries([...found].map(([, name = '', number]) => [name, Number(number)]));
  }

  test.each([
    ['x64', '/usr/include/x86_64-linux-gnu/asm/unistd_64.h'],
    ['arm64', '/usr/include/asm-generic/unistd.h'],
  ])("%s has those of the kernel's headers", (arch, file) => {
    if (arch === 'x64' && process.arch !== 'x64' && !existsSync(file)) return;
    const numbers = headerNumbers(file);
    const rows = rowsByNumber(SYSCALLS, arch);
    expect(rows).toHaveLength(512);
    for (const [row, name] of SYSCALLS.entries())
      expect([name, rows[numbers[name] ?? -1]]).toEqual([name, row + 1]);
    expect(rows.filter((row) => row !== 0)).toHaveLength(SYSCALLS.length);
    expect(Math.max(...Object.values(numbers))).toBeLessThan(512);
  });

  it('leaves out what is not asked for', () => {
    const rows = rowsByNumber(['write'], 'x64');
    expect([...rows].flatMap((row, number) => (row === 0 ? [] : [[number, row]]))).toEqual([[1, 2]]);
  });

  it('knows no other architecture', () => {
    for (const arch of ['s390x', 'toString']) {
      expect(caught(() => rowsByNumber(SYSCALLS, arch))).toBeInstanceOf(EbpfNotSupportedError);
    }
  });
});

test.each([
  [4n, 4n],
  [0xffn, 0xffn],
  [0x10_0000n, 0x100n], // minor 256, as stat(2) has it
  [0xfedc_b198n, (0xcb1n << 20n) | 0xfed98n], // 3249:1043864
  [0x801n, 0x80_0001n], // 8:1
])('device %s is the kernel’s %s', (dev, expected) => {
  expect(kernelDevice(dev)).toBe(expected);
});

describe('the flavour', () => {
  const noTracepoint = new EbpfLoadError('none', { code: 'ESRCH' });

  async function tried(via: 'auto' | SyscallFlavour, failing: Partial<Record<SyscallFlavour, Error>>) {
    const order: SyscallFlavour[] = [];
    const outcome = firstFlavour(via, async (flavour) => {
      order.push(flavour);
      const error = failing[flavour];
      if (error) throw error;
      return flavour;
    });
    return { outcome: await outcome.catch((error: unknown) => error), order };
  }

  it('is the tracepoints where there are some, and kprobes where there are none', async () => {
    expect(await tried('auto', {})).toEqual({ outcome: 'raw_tp', order: ['raw_tp'] });
    const { outcome, order } = await tried('auto', { raw_tp: noTracepoint });
    expect([outcome, order]).toEqual(['kprobe', ['raw_tp', 'kprobe']]);
  });

  it('is not another one where something else is wrong, or where it is named', async () => {
    const busy = new EbpfAttachError('busy', { code: 'EBUSY', target: 'sys_enter' });
    expect((await tried('auto', { raw_tp: busy })).order).toEqual(['raw_tp']);
    expect((await tried('auto', { raw_tp: busy })).outcome).toBe(busy);
    expect((await tried('raw_tp', { raw_tp: noTracepoint })).order).toEqual(['raw_tp']);
    expect((await tried('kprobe', { kprobe: busy })).outcome).toBe(busy);
  });
});

// Refused before the kernel is asked.
test.each([
  [{ via: 'fentry' }, 'Expected auto, raw_tp or kprobe for via but received fentry'],
  [
    { syscalls: [] },
    'Expected at least one of read, write, sendto, recvfrom, connect, accept, accept4 in syscalls',
  ],
  [
    { syscalls: ['read', 'open'] },
    'Expected read, write, sendto, recvfrom, connect, accept, accept4 in syscalls but received open',
  ],
  [{ pid: 0 }, 'Expected a process id from 1 to 4194304 for pid but received 0'],
  [{ pid: 1.5 }, 'Expected a process id from 1 to 4194304 for pid but received 1.5'],
  [{ cgroup: 7 }, 'Expected a path for cgroup but received number'],
  [{ excludeSelf: 1 }, 'Expected a boolean for excludeSelf but received number'],
])('%j is refused', async (options, message) => {
  expect(await rejection(SyscallLatency.attach(options as never))).toMatchObject({ message });
});

describe('the command', () => {
  const LOST: LostCalls = { noRoom: 0, noReturn: 0, notRun: 0 };
  const SUBJECT = { via: 'raw_tp', of: 'process 7' } as const;
  const plain = new Writable();

  function samples(looks: readonly (readonly number[])[], lost = LOST) {
    let look = 0;
    let now = 0;
    const measuring = { read: () => ({ read: histogram(looks[look++] ?? []) }), lost: () => lost };
    const meter = new LatencyMeter(measuring, () => now);
    return looks.slice(1).map(() => {
      now += 2_000;
      return meter.sample();
    });
  }

  it('has the calls of an interval, and their rate by the time that passed', () => {
    const [first, second] = samples([[600], [600, 5_000, 5_000], [600, 5_000, 5_000, 600]]);
    expect(first).toMatchObject({ elapsed: 2, rates: { read: 1 }, lost: LOST });
    expect(first?.last.read).toEqual(histogram([5_000, 5_000]));
    expect(first?.totals.read?.count).toBe(3);
    expect(second?.last.read).toEqual(histogram([600]));
    expect(second).toMatchObject({ elapsed: 4, rates: { read: 0.5 } });
    expect(second && meanRates(second)).toEqual({ read: 1 });
  });

  test.each([
    [Number.NaN, '–'],
    [0, '0 ns'],
    [724.08, '724 ns'],
    [999.6, '1.00 µs'],
    [2896, '2.90 µs'],
    [46.34e6, '46.3 ms'],
    [24.3e9, '24.3 s'],
  ])('%s ns are %s', (ns, words) => {
    expect(latencyWords(ns)).toBe(words);
  });

  it('draws a cell for each slot from 32 ns on, by magnitude, faster ones in the first', () => {
    const slots = new Float64Array(36);
    slots.set([3, 2], 1);
    slots.set([1, 10_000, 101, 9], 10);
    slots[35] = 1;
    const strip = heatStrip({ slots });
    expect(strip).toHaveLength(32);
    expect(strip).toBe(`░${' '.repeat(5)}░█▓░${' '.repeat(21)}░`);
    expect(heatStrip({ slots: new Float64Array(36) })).toBe(' '.repeat(32));
    expect(heatStrip({ slots: new Float64Array(36).fill(1, 7, 8) })).toBe(
      `${' '.repeat(3)}█${' '.repeat(28)}`,
    );
  });

  const [sample] = samples([[], Array.from({ length: 40 }, () => 1_500_000)], {
    ...LOST,
    noRoom: 2,
    noReturn: 1,
  });
  const screen = (columns: number, rows: number, final = false): string[] => {
    if (!sample) throw new Error('no sample');
    return latencyFrame(SUBJECT, sample, final, { columns, rows, stream: plain });
  };

  it('puts the strip under a scale of times', () => {
    const lines = screen(80, 24);
    expect(lines[0]).toBe('system calls of process 7, via raw_tp  2.0 s');
    const [head = '', row = ''] = lines.slice(2);
    expect(row).toMatch(/^read +20 +1\.48 ms +1\.48 ms +█$/);
    expect(row.indexOf('█')).toBe(head.indexOf('1 ms'));
    expect(lines.slice(4)).toEqual([
      '',
      'lost: 2 calls not measured (too many threads), 1 call with no exit seen',
      '',
      '^C detaches and ends',
    ]);
    expect(screen(80, 24, true)[0]).toMatch(/detached: whole run$/);
  });

  test.each([
    [200, 50],
    [80, 24],
    [79, 24],
    [60, 10],
    [20, 4],
    [1, 1],
  ])('fits %d columns and %d rows', (columns, rows) => {
    const lines = screen(columns, rows);
    expect(lines.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
    for (const line of lines) expect(line.length).toBeLessThan(Math.max(columns, 1));
    expect(lines.join('\n').includes('1 ms')).toBe(columns >= 76);
    expect(/ 40 /.test(lines.join('\n'))).toBe(columns >= 88);
  });

  it('takes names and process ids, and says what it expects', () => {
    expect(syscallNames('read, accept4')).toEqual(['read', 'accept4']);
    for (const text of ['', 'read,', 'open']) expect(caught(() => syscallNames(text))).toBeInstanceOf(Error);
    expect(processId('4711')).toBe(4711);
    for (const text of ['0', '-1', '1e3', '4194305', 'x'])
      expect(caught(() => processId(text))).toBeInstanceOf(Error);
  });
});
