// latency, as a process of its own, of processes whose calls are known.
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it, test } from 'vitest';
import { Cgroup } from '../../helpers/cgroup.ts';
import { CLI } from '../../helpers/child.ts';
import { Command, endCommands } from '../../helpers/command.ts';
import { heldIds } from '../../helpers/held.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, untilGone } from '../../helpers/kernel.ts';
import { Caller } from '../../helpers/syscalls.ts';
import { until } from '../../helpers/until.ts';

interface Line {
  time: string;
  via: string;
  totals: Record<string, { count: number; sumNs: number; slots: number[] }>;
  rates: Record<string, number>;
  percentiles: Record<string, Record<'p50' | 'p99', { ns: number | null; errorFactor: number | null }>>;
  lost: Record<string, number>;
}

let before: Snapshot;

beforeAll(() => {
  before = snapshotIds([
    'sys_enter',
    'sys_exit',
    'process_exit',
    'process_exec',
    'syscall_latency',
    'started',
    'lost',
    'cgroups',
  ]);
});
afterEach(() => {
  endCommands();
});
afterAll(() => assertNothingLeft(before));

const latency = (...args: string[]) => new Command<Line>([process.execPath, CLI, 'latency', ...args]);

it('counts the calls of a process exactly, in JSON, and ends when that does', async () => {
  using caller = await Caller.start('files=1000,777', 'connections=5,1', 'waiting=20');
  const cli = latency('--pid', String(caller.pid), '--json');
  await until(
    () => cli.objects.length > 0,
    () => cli.stderr,
  );
  const [programs, maps] = [heldIds('prog', cli.child.pid ?? 0), heldIds('map', cli.child.pid ?? 0)];
  expect(programs.length).toBeGreaterThanOrEqual(3);
  caller.goOn();
  expect(await caller.ended()).toBe(0);
  expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
  await untilGone({ programs, maps });

  const counts = { read: 1000, write: 777, sendto: 0, recvfrom: 1, connect: 5, accept: 4, accept4: 2 };
  const { objects: lines } = cli;
  const last = lines.at(-1);
  expect(
    Object.fromEntries(Object.entries(last?.totals ?? {}).map(([name, { count }]) => [name, count])),
  ).toEqual(counts);
  const sum = (slots: number[] = []) => slots.reduce((total, calls) => total + calls, 0);
  for (const [index, { time, via, totals, rates, percentiles, lost }] of lines.entries()) {
    expect(new Date(time).toISOString()).toBe(time);
    expect([via, lost]).toEqual(['raw_tp', { noRoom: 0, noReturn: 0, notRun: 0 }]);
    for (const record of [totals, rates, percentiles])
      expect(Object.keys(record)).toEqual(Object.keys(counts));
    // A percentile is of the calls since the line before, and of none where there were none.
    for (const [name, { p50, p99 }] of Object.entries(percentiles)) {
      const calls = sum(totals[name]?.slots) - sum(lines[index - 1]?.totals[name]?.slots);
      expect([name, p50.ns !== null, p99.ns !== null]).toEqual([name, calls > 0, calls > 0]);
    }
  }
  const { count, sumNs, slots } = last?.totals.recvfrom ?? { count: 0, sumNs: 0, slots: [] };
  expect(slots).toHaveLength(36);
  expect([count, slots[Math.floor(Math.log2(sumNs))]]).toEqual([1, 1]);
  expect(sumNs).toBeGreaterThanOrEqual(20e6);
});

it('writes aligned lines into a pipe', async () => {
  using caller = await Caller.start('files=300,200', 'nothing');
  const cli = latency('--pid', String(caller.pid), '--syscalls', 'write,read');
  await cli.says(/^\d\d:/m);
  caller.goOn();
  const { status, stdout, stderr } = await cli.ended;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [title, head = '', ...rows] = stdout.trimEnd().split('\n');
  expect(title).toBe(`system calls of process ${caller.pid}, via raw_tp: calls/s, p50 and p99`);
  expect(head).toMatch(/^time +write +read$/);
  expect(rows.pop()).toMatch(/^detached after [\d.]+ s$/);
  expect(rows.at(-1)).toMatch(
    /^total +200 +[\d.]+ [nµm]s +[\d.]+ [nµm]s +300 +[\d.]+ [nµm]s +[\d.]+ [nµm]s$/,
  );
  expect(rows[0]).toMatch(/^\d\d:\d\d:\d\d +0 +– +– +0 +– +–$/);
  for (const row of rows) expect(row).toHaveLength(head.length);
  expect(stdout).not.toContain('\x1b');
});

it('draws a heat strip on a terminal, and gives the cursor back at the end', async () => {
  using caller = await Caller.start('waiting=20', 'nothing');
  const command = `stty cols 80 rows 24; exec ${process.execPath} ${CLI} latency --pid ${caller.pid}`;
  const cli = new Command(['script', '-qec', command, '/dev/null']);
  await cli.says('^C detaches and ends');
  caller.goOn();
  const { status, stdout } = await cli.ended;
  expect(status).toBe(0);
  expect(stdout.indexOf('\x1b[?25l')).toBe(0);
  expect(stdout.trimEnd().endsWith('\x1b[?25h')).toBe(true);
  const last = stdout.split('\x1b[0J').at(-1) ?? '';
  expect(last).toContain('\x1b[33m');
  const lines = stripVTControlCharacters(last).split(/\r?\n/);
  expect(lines[0]).toContain(`process ${caller.pid}, via raw_tp`);
  expect(lines[0]).toContain('detached: whole run');
  const head = lines.find((line) => line.includes('calls/s')) ?? '';
  const row = lines.find((line) => line.startsWith('recvfrom')) ?? '';
  // One call of 20 ms at least is right of the mark of a millisecond, and of no other slot.
  expect(row.match(/[░▒▓█]/g)).toEqual(['█']);
  expect(row.indexOf('█')).toBeGreaterThan(head.indexOf('1 ms'));
  expect(lines.find((line) => line.startsWith('read'))).toMatch(/^read +0 +– +–$/);
});

it('leaves its own calls out', async () => {
  using cgroup = new Cgroup();
  const join_ = `echo $$ > ${join(cgroup.path, 'cgroup.procs')}; exec "$@"`;
  const args = ['latency', '--cgroup', cgroup.path, '--syscalls', 'write', '--json', '--seconds', '2'];
  const cli = new Command<Line>(['sh', '-c', join_, 'sh', process.execPath, CLI, ...args]);
  expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
  // Each line is a write, and none of them is seen.
  expect(cli.objects.map(({ totals }) => totals.write?.count)).toEqual([0, 0]);
});

it('ends quietly when nobody reads any more, and leaves nothing when it is killed', async () => {
  for (const end of [
    (cli: Command<Line>) => cli.child.stdout?.destroy(),
    (cli: Command<Line>) => cli.child.kill('SIGKILL'),
  ]) {
    const cli = latency();
    await cli.says('time');
    const programs = heldIds('prog', cli.child.pid ?? 0);
    expect(programs.length).toBeGreaterThanOrEqual(3);
    end(cli);
    const { status, stderr } = await cli.ended;
    expect([status, stderr]).toEqual([status === 0 ? 0 : 'SIGKILL', '']);
    await untilGone({ programs });
  }
});

test.each([
  [2, ['--syscalls', 'open'], /Expected some of read, write, sendto, recvfrom, connect, accept, accept4\./],
  [2, ['--pid', 'x'], /Expected a process ID\./],
  [2, ['--via', 'fentry'], /Allowed choices are auto, raw_tp, kprobe\./],
  [
    1,
    ['--pid', '4194304'],
    /^error: measure system calls of process 4194304: there is no such process\nhint: /,
  ],
  [1, ['--cgroup', '/tmp'], /^error: measure system calls: not a cgroup v2 directory\nhint: /],
])('exit status %d for %j', async (status, args, message) => {
  const ended = await latency(...args).ended;
  expect([ended.status, ended.stdout]).toEqual([status, '']);
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
  expect(ended.stderr).not.toContain('bug in node-ebpf');
});
