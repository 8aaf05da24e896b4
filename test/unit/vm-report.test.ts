import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type GuestTest,
  kernelReport,
  type Line,
  lineReader,
  MARK,
  merge,
  sum,
  summary,
} from '../../scripts/vm/report.js';
import { BEGIN, END as CLOSE, cell, table, writeTable } from '../../scripts/vm/table.js';

const FILE = 'test/kernel/link/link.test.ts';
const one = (state: string, name = state): GuestTest => ({ name, state, seconds: 1 });
const file = (...states: string[]): Line => ({
  file: FILE,
  seconds: 1,
  tests: states.map((state) => one(state)),
});
const END: Line = { ended: true, errors: [] };
const reportOf = (lines: Line[], more: { status?: number; failure?: string; selected?: string[] } = {}) =>
  kernelReport({ kernel: '6.1', release: '6.1.0', selected: [FILE], lines, status: 0, seconds: 2, ...more });
const countOf = (...args: Parameters<typeof reportOf>) => summary(sum([reportOf(...args)]));

describe('what a guest came to', () => {
  test('its tests, by state', () => {
    expect(countOf([file('passed', 'passed', 'skipped'), END])).toBe('2 passed, 0 failed, 1 skipped');
  });

  test('a failed test is counted once, though vitest ends with 1', () => {
    expect(countOf([file('passed', 'failed'), END], { status: 1 })).toBe('1 passed, 1 failed, 0 skipped');
  });

  test('a state that is not known is a failure', () => {
    expect(countOf([file('passed', 'later'), END])).toBe('1 passed, 1 failed, 0 skipped');
  });

  test('a status that no test explains is a failure', () => {
    expect(countOf([file('passed'), END], { status: 134 })).toBe('1 passed, 1 failed, 0 skipped');
  });

  test('a selected file of which nothing came, or without a test, is a failure', () => {
    expect(countOf([END])).toBe('0 passed, 1 failed, 0 skipped');
    expect(countOf([file(), END])).toBe('0 passed, 1 failed, 0 skipped');
    expect(countOf([file('passed'), END], { selected: [FILE, 'test/kernel/attach/tc.test.ts'] })).toBe(
      '1 passed, 1 failed, 0 skipped',
    );
  });

  test('a guest that died is a failure, and what it told stays', () => {
    const report = reportOf([file('passed')], { failure: 'panic' });
    expect(summary(sum([report]))).toBe('1 passed, 1 failed, 0 skipped');
    expect(report.files.at(-1)?.tests).toEqual([
      { name: 'the guest', state: 'failed', seconds: 0, error: 'panic' },
    ]);
  });

  test('a file that was at work when the guest died is told from one that never ran', () => {
    const selected = [FILE, 'test/kernel/attach/tc.test.ts'];
    const report = reportOf([{ started: FILE }], { failure: 'panic', selected });
    expect(report.files.at(-1)?.tests.map(({ name, error }) => [name, error])).toEqual([
      ['the guest', 'panic'],
      [FILE, 'it did not finish'],
      ['test/kernel/attach/tc.test.ts', 'it did not run'],
    ]);
  });

  test('an error outside of every test is a failure', () => {
    expect(countOf([file('passed'), { ended: true, errors: ['unhandled'] }], { status: 1 })).toBe(
      '1 passed, 1 failed, 0 skipped',
    );
  });

  test('vitest that ended without saying so is a failure, whatever its status', () => {
    expect(countOf([file('passed')])).toBe('1 passed, 1 failed, 0 skipped');
  });
});

test('kernels are summed', () => {
  const reports = [reportOf([file('passed', 'failed'), END]), reportOf([file('passed', 'skipped'), END])];
  expect(sum(reports)).toEqual({ passed: 2, failed: 1, skipped: 1 });
  expect(sum([])).toEqual({ passed: 0, failed: 0, skipped: 0 });
});

test('reports are read out of a stream, wherever it is cut', () => {
  const line = file('passed', 'é');
  const stream = Buffer.from(`what a test writes\n${MARK}${JSON.stringify(line)}\nmore`);
  for (let at = 0; at <= stream.length; at++) {
    const lines: Line[] = [];
    const others: string[] = [];
    const reader = lineReader(
      (report) => lines.push(report),
      (text) => others.push(text),
    );
    reader.push(stream.subarray(0, at));
    reader.push(stream.subarray(at));
    reader.end();
    expect({ lines, others }).toEqual({ lines: [line], others: ['what a test writes', 'more'] });
  }
});

test('of each file the last run is known, and nothing of another kernel', () => {
  const first = reportOf([file('passed'), { ...file('passed'), file: 'b' }, END], { failure: 'panic' });
  const second = reportOf([file('failed'), END], { status: 1 });
  expect(merge(first, second).files.map((one) => [one.file, one.tests[0]?.state])).toEqual([
    ['b', 'passed'],
    [FILE, 'failed'],
  ]);
  expect(merge({ ...first, release: '6.1.1' }, second)).toBe(second);
  expect(merge(undefined, second)).toBe(second);
});

describe('a cell of the table', () => {
  const skip = (why: string) => one('skipped', `counts (${why})`);
  test.each([
    ['ok', [one('passed'), one('passed')]],
    ['FAILS', [one('passed'), one('failed'), skip('kprobes takes kernel 4.1')]],
    ['needs 6.6', [skip('tcx takes kernel 6.6')]],
    ['— (EPERM)', [skip('fentry takes kernel 5.5; this one says EPERM')]],
    ['skipped', [skip('it is late')]],
    ['', []],
  ])('%s', (text, tests) => {
    expect(cell(tests)).toBe(text);
  });
});

test('the table has a column for each kernel, and the page keeps what is around it', () => {
  const old = reportOf([
    {
      file: FILE,
      seconds: 1,
      tests: [one('passed'), { ...one('skipped', 'x (tcx takes kernel 6.6)'), feature: 'tcx' }],
    },
    END,
  ]);
  const young = {
    ...reportOf([{ file: FILE, seconds: 1, tests: [{ ...one('passed'), feature: 'tcx' }] }, END]),
    release: '6.12.1',
  };
  const written = table([old, young]);
  expect(written.split('\n')).toEqual([
    '| feature | 6.1 | 6.12 |',
    '| --- | --- | --- |',
    '| XDP by a bpf_link | ok | ok |',
    '| TC by TCX | needs 6.6 | ok |',
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-table-'));
  try {
    const page = join(folder, 'page.md');
    writeFileSync(page, `above\n${BEGIN}\nold\n${CLOSE}\nbelow\n`);
    writeTable(page, [old, young]);
    expect(readFileSync(page, 'utf8')).toBe(`above\n${BEGIN}\n\n${written}\n\n${CLOSE}\nbelow\n`);
    writeFileSync(page, 'no marks');
    expect(() => writeTable(page, [old])).toThrow(/has no/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
