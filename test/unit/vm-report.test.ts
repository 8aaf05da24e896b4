import { describe, expect, test } from 'vitest';
import {
  type GuestTest,
  kernelReport,
  type Line,
  lineReader,
  MARK,
  sum,
  summary,
} from '../../scripts/vm/report.js';

const FILE = 'test/kernel/link.test.ts';
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
    expect(countOf([file('passed'), END], { selected: [FILE, 'test/kernel/tc.test.ts'] })).toBe(
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
    const selected = [FILE, 'test/kernel/tc.test.ts'];
    const report = reportOf([{ started: FILE }], { failure: 'panic', selected });
    expect(report.files.at(-1)?.tests.map(({ name, error }) => [name, error])).toEqual([
      ['the guest', 'panic'],
      [FILE, 'it did not come to its end'],
      ['test/kernel/tc.test.ts', 'it did not run'],
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
