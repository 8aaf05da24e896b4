// Each example of the documents runs as it stands, and prints what its comments say.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';
import { createNetns, type Netns } from '../helpers/netns.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Example {
  line: number;
  code: string;
}

function examples(document: string, holds = ''): Example[] {
  const text = readFileSync(join(ROOT, document), 'utf8');
  return [...text.matchAll(/^```js\n(.*?)^```$/gms)]
    .map(({ 1: code = '', index }) => ({ line: text.slice(0, index).split('\n').length, code }))
    .filter(({ code }) => code.includes(holds));
}

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
  ]);
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-docs-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules', 'node-ebpf'));
  copyFileSync(shippedObject('xdp_counter'), join(folder, 'xdp_counter.bpf.o'));
  for (const name of ['my_program', 'execs']) {
    copyFileSync(testObject(name), join(folder, `${name}.bpf.o`));
  }
  netns = createNetns();
  netns.upLoopback();
  // Of this namespace. Its peer is down: nothing goes over it.
  netns.exec('sh', ['-ec', 'ip link add eth0 type veth peer name eth0-peer; ip link set eth0 up']);
});
afterAll(async () => {
  netns.close();
  rmSync(folder, { recursive: true });
  await assertNothingLeft(before);
});

/** In a network and a mount namespace of its own, with a BPF file system that goes with it. */
function run({ code }: Example): { status: number | null; lines: string[]; stderr: string } {
  writeFileSync(join(folder, 'example.mjs'), code);
  const mounted = 'mount -t bpf bpf /sys/fs/bpf && exec "$@"';
  const { status, stdout, stderr } = spawnSync(
    'ip',
    [
      ...['netns', 'exec', netns.name, 'unshare', '--mount', 'sh', '-c', mounted, 'sh'],
      ...[process.execPath, 'example.mjs'],
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
  ['docs/programs.md', '', 4],
  ['docs/metrics.md', '', 2],
  ['docs/control.md', '', 1],
  ['docs/errors.md', '', 1],
  ['docs/kernel-support.md', '', 1],
])('%s', (document, holds, least) => {
  const found = examples(document, holds);

  it('has examples', () => expect(found.length).toBeGreaterThanOrEqual(least));

  it.each(found)('line $line', (example) => {
    const { status, lines, stderr } = run(example);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(lines).toEqual(promised(example.code));
  });
});
