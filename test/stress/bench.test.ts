import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../helpers/kernel.ts';

// That it runs, and what it writes: a timing never fails a test.

const BENCH = fileURLToPath(new URL('../../scripts/bench', import.meta.url));
const NAMES = [
  'bench',
  'sums',
  'source',
  'snapshot.rodata',
  'percpu_array',
  'array',
  'hash',
  'percpu_hash',
  'xdp',
  'xdp_counter',
  'tc',
  'tc_ingress',
  'tc_egress',
  'net_dev_xmit',
  'netif_receive_skb',
  'kfree_skb',
];

interface Row {
  case: string;
  impl: string;
  via: string;
  ns: number;
  ratioToC: number | null;
  garbageBytes: number | null;
  rounds: number;
  budgets: { words: string; limit: number; figure: number; byC: number; state: string }[];
}

interface OverheadRow extends Row {
  nsPerEvent: number;
  emptyNsPerEvent: number;
  percentOfCpu: Record<number, number>;
}

let before: Snapshot;
let folder: string;
beforeEach(() => {
  before = snapshotIds(NAMES);
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-bench-'));
});
afterEach(async () => {
  rmSync(folder, { recursive: true });
  await assertNothingLeft(before);
});

test('npm run bench -- --quick measures, writes JSON and prints a table', async () => {
  const out = join(folder, 'latest.json');
  const { stdout } = await promisify(execFile)('bash', [
    BENCH,
    '--quick',
    '--alone',
    '--out',
    out,
    'a:',
    'e:',
    'hot key',
    'sampler',
    'start',
  ]);
  const { quick, rows } = JSON.parse(readFileSync(out, 'utf8')) as { quick: boolean; rows: Row[] };
  expect(quick).toBe(true);
  const ours = rows.filter(({ impl }) => impl === 'node-ebpf').map((row) => `${row.case[0]} ${row.via}`);
  expect([...new Set(ours)]).toEqual([
    'a batch',
    'a snapshot',
    'a lookup',
    'e batch',
    'e snapshot',
    'e lookup',
    'e mmap',
    'o slot.read',
    'o getInto',
    'o get',
    's addon load',
    's import',
    's import → first counter read',
    's missed',
  ]);
  for (const row of rows) {
    expect(row.ns).toBeGreaterThan(0);
    expect(row.rounds).toBeGreaterThan(0);
  }
  for (const { words, figure, limit, byC, state } of rows.flatMap(({ budgets }) => budgets)) {
    // Only what C does by the same means in this run puts a budget out of reach, and only where it is about that.
    expect(byC > 0).toBe(words.startsWith('against C batch'));
    expect(state).toBe(figure <= limit ? 'met' : byC > limit ? 'out of reach' : 'missed');
  }
  expect(stdout).toMatch(/^\| case \| implementation \| via \|/m);
});

test('what a program costs is more than what nothing costs in its place', async () => {
  const out = join(folder, 'latest.json');
  await promisify(execFile)('bash', [BENCH, '--quick', '--alone', '--out', out, 'overhead: packets']);
  const { rows } = JSON.parse(readFileSync(out, 'utf8')) as { rows: OverheadRow[] };
  expect(rows.map(({ impl }) => impl)).toEqual(['xdp_counter', 'tc_classifier', 'tracepoint_net']);
  for (const { nsPerEvent, emptyNsPerEvent, percentOfCpu, budgets } of rows) {
    expect(emptyNsPerEvent).toBeGreaterThan(0);
    expect(percentOfCpu[50_000]).toBeCloseTo((100 * 50_000 * nsPerEvent) / 1e9);
    // What comes out below zero was no measurement.
    expect(budgets.map(({ state }) => state)).toEqual([
      nsPerEvent > 0 && nsPerEvent <= 200 ? 'met' : 'missed',
    ]);
  }
});

test('an interrupted bench leaves nothing', async () => {
  const out = join(folder, 'latest.json');
  const child = spawn('bash', [BENCH, '--alone', '--out', out, 'a:', 'd:'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (text.includes('× C batch')) child.kill('SIGINT');
  });
  const [status, signal] = await once(child, 'close');
  expect([status, signal], stderr).toEqual([null, 'SIGINT']);
});
