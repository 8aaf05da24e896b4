import { expect, test } from 'vitest';
import {
  askKernel,
  EXCEPTIONS,
  exceptionFor,
  FEATURES,
  type Feature,
  kernelIsAtLeast,
} from '../../helpers/features.ts';

// A skipped test has to be right: what test/helpers/features.ts says of this kernel is what the kernel says, asked by its own
// system calls.

const ASKED: readonly Feature[] = [
  ...(['kprobes', 'kprobe.multi', 'fentry', 'lsm', 'iter of map elements', 'tcx'] as const),
  'hardware counters',
];

for (const feature of ASKED) {
  test(`${feature}: the kernel says what the table says`, () => {
    const said = askKernel(feature);
    const since = FEATURES[feature];
    if (kernelIsAtLeast(since)) expect(said).toBe(exceptionFor(feature)?.errno ?? 'ok');
    else expect(said, `${feature} is older than ${since}`).not.toBe('ok');
  });
}

test('every exception is one that the kernel is asked about', () => {
  expect(EXCEPTIONS.map(({ feature }) => feature).filter((feature) => !ASKED.includes(feature))).toEqual([]);
});

test.each([
  ['6.1', '6.1.158-cloud-amd64', true],
  ['6.6', '6.1.158-cloud-amd64', false],
  ['6.4', '6.12.117+deb13-cloud-amd64', true],
  ['5.19', '5.10.0-32-cloud-amd64', false],
  ['5.8', '6.1.0', true],
  ['7.0', '7.2.13+deb14-cloud-amd64', true],
])('a feature of %s in %s: %s', (since, release, there) => {
  expect(kernelIsAtLeast(since, release)).toBe(there);
});
