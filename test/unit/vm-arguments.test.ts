import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const RUN = fileURLToPath(new URL('../../scripts/vm/run.js', import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [RUN, ...args], { encoding: 'utf8' });

it.each([
  ['no kernel 2.4', ['2.4']],
  ['no file tc', ['6.12', '--files', 'tc']],
  ['Expected a number of minutes for --minutes but received soon', ['6.12', '--minutes', 'soon']],
])('test:vm boots nothing and says: %s', (words, args) => {
  const { status, stdout, stderr } = run(...args);
  expect([status, stdout]).toEqual([2, '']);
  expect(stderr).toContain(words);
});

it('test:vm --list says what would run, and on which kernels', () => {
  const { status, stdout } = run('6.12', '--files', 'test/kernel/attach/tc.test.ts', '--list');
  expect(status).toBe(0);
  expect(stdout).toBe('kernel 6.12\ntest/kernel/attach/tc.test.ts\n');
});
