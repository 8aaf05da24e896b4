// Each example of the documents runs as it stands, and prints what its comments say.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Block, blocks, exampleFolder, exampleNetns, ROOT } from '../../helpers/documents.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import type { Netns } from '../../helpers/netns.ts';

/** What the comments behind console.log() say, in order. */
function promised(code: string): string[] {
  return [...code.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm)].map(([, words = '']) => words);
}

let before: Snapshot;
let folder: string;
let netns: Netns;

beforeAll(() => {
  before = snapshotIds([
    'ports',
    'small',
    'sums',
    'snapshot',
    'sys_enter',
    'sys_exit',
    'process_exit',
    'process_exec',
    'xdp_counter',
    'xdp_guard',
    'requests',
    'my_program',
    'my_map',
    'count_exec',
    'execs',
  ]);
  folder = exampleFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules', 'node-ebpf'));
  netns = exampleNetns();
});
afterAll(async () => {
  netns.close();
  rmSync(folder, { recursive: true });
  await assertNothingLeft(before);
});

/** In a network and a mount namespace of its own, with a BPF file system that goes with it. */
function run({ code }: Block): { status: number | null; lines: string[]; stderr: string } {
  writeFileSync(join(folder, 'example.mjs'), code);
  const mounted = 'mount -t bpf bpf /sys/fs/bpf && exec "$@"';
  const { status, stdout, stderr } = spawnSync(
    'ip',
    [
      'netns',
      'exec',
      netns.name,
      'unshare',
      '--mount',
      'sh',
      '-c',
      mounted,
      'sh',
      process.execPath,
      'example.mjs',
    ],
    { cwd: folder, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined } },
  );
  return { status, lines: stdout.split('\n').slice(0, -1), stderr };
}

// The README's first example is test/package/consumer.test.ts's.
describe.each([
  ['README.md', 'my_program', 1],
  ['README.md', '.reader(', 1],
  ['docs/getting-started.md', '', 4],
  ['docs/tracing.md', '', 1],
  ['docs/migrating.md', '', 2],
  ['docs/maps.md', '', 10],
  ['docs/programs.md', '', 5],
  ['docs/metrics.md', '', 2],
  ['docs/control.md', '', 1],
  ['docs/errors.md', '', 1],
  ['docs/kernel-support.md', '', 1],
])('%s', (document, holds, least) => {
  const found = blocks(document, 'js').filter(({ code }) => code.includes(holds));

  it('has examples', () => expect(found.length).toBeGreaterThanOrEqual(least));

  it.each(found)('line $line', (example) => {
    const { status, lines, stderr } = run(example);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(lines).toEqual(promised(example.code));
  });
});
