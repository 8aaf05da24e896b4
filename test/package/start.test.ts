// What a newcomer runs first, in a clone.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { Netns } from '../helpers/netns.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

let before: Snapshot;
let netns: Netns;
beforeAll(() => {
  before = snapshotIds();
  netns = new Netns();
  netns.upLoopback();
});
afterAll(async () => {
  netns.close();
  await assertNothingLeft(before);
});

it('npm run build builds for this machine, and runs no script beside its own', () => {
  const { status, stdout, stderr } = spawnSync('npm', ['run', 'build'], { cwd: root, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout.split('\n').filter((line) => line.startsWith('> '))).toEqual([
    expect.stringMatching(/^> node-ebpf@\S+ build$/),
    '> bash scripts/setup',
  ]);
});

it('npm start sets up, serves the page over traffic of its own, and tells of it where no terminal is', async () => {
  const npm = ['npm', 'run', '--silent', 'start', '--', '--listen', '127.0.0.1:0', '--seconds', '4'];
  const child = spawn('ip', ['netns', 'exec', netns.name, ...npm], { cwd: root });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const [status] = await once(child, 'close');
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^serving http:\/\/127\.0\.0\.1:\d+\/$/m);
  expect(stdout).toMatch(/^healthy: attached: 4 of 4 programs$/m);
  expect(stdout).toMatch(/^\d\d:\d\d:\d\d [1-9][\d.,]* packets\/s, .*/m);
  expect(stdout).toMatch(/^lo: [1-9][\d,]* packets, /m);
  expect(stdout).toMatch(/\ndetached\n$/);
  expect(status).toBe(0);
});
