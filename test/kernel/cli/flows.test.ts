import { readFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { CLI, endChildren } from '../../helpers/child.ts';
import { Command, endCommands } from '../../helpers/command.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, untilGone } from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { sendFrames } from '../../helpers/send.ts';
import { type Direction, filtersOf, qdiscOf, tcxOf } from '../../helpers/tc.ts';
import { until } from '../../helpers/until.ts';

interface Tally {
  packets: number;
  bytes: number;
}

interface Line {
  time: string;
  interface: string;
  direction: string;
  via: string;
  classes: Record<string, { ingress: Tally; egress: Tally }>;
  rates: Record<string, { ingress: Tally; egress: Tally }>;
  flowCount: number;
  flows: (Tally & { protocol: string; destinationPort: number; direction: string; rates: Tally })[];
  evicted: number;
}

const UDP = frames.udp4(frames.bytes(100));
const TCP = frames.tcp6(frames.bytes(500));
const SENT = [
  { frame: UDP, count: 700 },
  { frame: TCP, count: 300 },
  { frame: frames.icmp4(), count: 20 },
  { frame: frames.llc(), count: 5 },
];
const tally = (frame: Uint8Array, count: number): Tally => ({ packets: count, bytes: count * frame.length });
const NOTHING = { packets: 0, bytes: 0 };

let before: Snapshot;
let ns: Netns;
let veth: Veth;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  ns = createNetns();
  veth = ns.addVeth();
});
afterEach(() => {
  endCommands();
  endChildren();
  ns.close();
});
afterAll(() => assertNothingLeft(before));

/** `node-ebpf flows` in the test's namespace. */
class Flows extends Command<Line> {
  constructor(args: readonly string[], command: readonly string[] = [process.execPath, CLI, 'flows']) {
    super(['ip', 'netns', 'exec', ns.name, ...command, ...args]);
  }

  /** The ids of the programs that it has on both hooks, or on one. */
  attached(ways: readonly Direction[] = ['ingress', 'egress'], on: Netns = ns): Promise<number[]> {
    return until(
      () => {
        const ids = ways.flatMap((way) => attachedIds(way, on));
        return ids.length === ways.length && ids;
      },
      () => `not attached: ${this.stderr}`,
      30_000,
    );
  }

  override says(text: string): Promise<true> {
    return super.says(text, 30_000);
  }
}

function attachedIds(way: Direction, on: Netns = ns): number[] {
  const b = on.interface(veth.b.name);
  return [...tcxOf(on, b, way), ...filtersOf(on, b.name, way)].map(({ programId }) => programId ?? 0);
}

/** In on the interface that is watched, and a few out. */
async function send(on: Netns = ns): Promise<void> {
  const [a, b] = [veth.a.name, veth.b.name];
  await sendFrames(SENT, { netns: on, iface: a, receiver: b });
  await sendFrames([{ frame: UDP, count: 50 }], { netns: on, iface: b, receiver: a });
}

const RULES = ['--rule', 'echo=udp/7', '--rule', 'web=tcp/80', '--rule', 'web=tcp/443'];

it('prints JSON lines: classes, flows and rates of exactly what was sent', async () => {
  const cli = new Flows([veth.b.name, '--json', ...RULES]);
  const ids = await cli.attached();
  await until(() => cli.objects.length > 0);
  await send();
  const lines = cli.objects.length;
  await until(() => cli.objects.length > lines + 1);
  cli.child.kill('SIGTERM');
  expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
  expect(cli.objects.at(-1)).toMatchObject({
    interface: veth.b.name,
    direction: 'both',
    flowCount: 4,
    evicted: 0,
    classes: {
      echo: { ingress: tally(UDP, 700), egress: tally(UDP, 50) },
      web: { ingress: tally(TCP, 300), egress: NOTHING },
      other: {
        ingress: {
          packets: 25,
          bytes: 20 * frames.icmp4().length + 5 * frames.llc().length,
        },
        egress: NOTHING,
      },
    },
  });
  for (const [index, line] of cli.objects.entries()) {
    expect(new Date(line.time).toISOString()).toBe(line.time);
    const packets =
      (line.classes.echo?.ingress.packets ?? 0) -
      (cli.objects[index - 1]?.classes.echo?.ingress.packets ?? 0);
    if (index > 0) expect((line.rates.echo?.ingress.packets ?? 0) > 0).toBe(packets > 0);
    // A rate is of a flow's own packets, all of one length here.
    for (const flow of line.flows.filter(({ protocol }) => protocol === 'udp')) {
      expect(flow.rates.bytes / UDP.length).toBeCloseTo(flow.rates.packets, 2);
    }
  }
  expect([attachedIds('ingress'), attachedIds('egress'), qdiscOf(ns, veth.b.name)]).toEqual([
    [],
    [],
    undefined,
  ]);
  await untilGone({ programs: ids });
});

it('--top and --direction: the largest flows of one way', async () => {
  const cli = new Flows([veth.b.name, '--json', '--top', '1', '--direction', 'ingress']);
  await cli.attached(['ingress']);
  expect(attachedIds('egress')).toEqual([]);
  await send();
  // Without traffic the totals decide: 300 large segments outweigh 700 small datagrams.
  await until(() => cli.objects.at(-1)?.flowCount === 3 && cli.objects.at(-1)?.flows[0]?.rates.packets === 0);
  cli.child.kill('SIGINT');
  expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
  const last = cli.objects.at(-1);
  expect(last?.classes.other?.egress).toEqual(NOTHING);
  expect(last?.flows).toMatchObject([{ protocol: 'tcp', direction: 'ingress', ...tally(TCP, 300) }]);
});

it('writes aligned lines into a pipe, and the flows at the end', async () => {
  const cli = new Flows([veth.b.name, ...RULES]);
  await cli.attached();
  await cli.says('time');
  await send();
  await until(() => /^\d\d:\d\d:\d\d .* 4 {2}/m.test(cli.stdout));
  cli.child.kill('SIGINT');
  const { status, stdout, stderr } = await cli.ended;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [title, head = '', ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/^v0b, (tcx|clsact): packets\/s and bytes\/s, and the fastest flow$/);
  expect(head).toMatch(/^time +ingress +egress +flows {2}fastest$/);
  const seconds = rows.filter((row) => /^\d\d:/.test(row));
  const column = head.indexOf('flows') + 'flows'.length;
  for (const row of seconds) expect(row.slice(column - 1, column + 2)).toMatch(/^\d {2}$/);
  const fastest =
    /(tcp \[2001:db8::a\]:40000 > \[2001:db8::b\]:80|udp 192\.0\.2\.1:40000 > 192\.0\.2\.2:7) (in|out) [\d.]+ k?B\/s/;
  expect(seconds.join('\n')).toMatch(fastest);
  const end = rows.slice(seconds.length).join('\n');
  expect(end).toMatch(/^class +ingress packets +bytes +egress packets +bytes$/m);
  expect(end).toMatch(/^echo +700 +\S+ kB +50 +\S+ kB$/m);
  expect(end).toMatch(/^in +tcp +\[2001:db8::a\]:40000 +\[2001:db8::b\]:80 .* 300 +172 kB$/m);
  expect(end).toMatch(/^4 flows; detached after [\d.]+ s$/m);
  expect(stdout).not.toContain('\x1b');
});

it('draws a table on a terminal', async () => {
  const command = `stty cols 100 rows 24; exec ${process.execPath} ${CLI} flows ${veth.b.name} ${RULES.join(' ')}`;
  const cli = new Flows([], ['script', '-qec', command, '/dev/null']);
  await cli.attached();
  await send();
  await cli.says('4 flows');
  process.kill(childOf(cli.child.pid), 'SIGINT');
  const { stdout } = await cli.ended;
  expect(stdout.startsWith('\x1b[?25l')).toBe(true);
  expect(stdout.trimEnd().endsWith('\x1b[?25h')).toBe(true);
  const last = stripVTControlCharacters(stdout.split('\x1b[0J').at(-1) ?? '');
  expect(last).toContain('detached: means and totals');
  expect(last).toMatch(/^web +300 /m);
  expect(last).toMatch(/^in +udp +192\.0\.2\.1:40000 .* 700 /m);
  expect(last).toContain('4 flows');
});

function childOf(pid: number | undefined): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
}

it('ends by itself after --seconds, with a line per second and one at the end', async () => {
  const { status, stdout } = await new Flows([veth.b.name, '--json', '--seconds', '1.2']).ended;
  expect(status).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(2);
  expect([attachedIds('ingress'), attachedIds('egress')]).toEqual([[], []]);
});

it('looks into another namespace with --netns', async () => {
  using other = createNetns();
  veth = other.addVeth();
  const cli = new Flows([veth.b.name, '--netns', other.path, '--json']);
  await cli.attached(undefined, other);
  await send(other);
  cli.child.kill('SIGTERM');
  expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
  expect(cli.objects.at(-1)?.classes.other?.ingress.packets).toBe(1_025);
  expect([attachedIds('ingress', other), attachedIds('egress', other)]).toEqual([[], []]);
});

it('says so, and fails, when the interface goes away; leaves nothing when it is killed', async () => {
  const lost = new Flows([veth.b.name]);
  await lost.attached();
  await lost.says('time');
  ns.ip('link', 'delete', veth.b.name);
  const ended = await lost.ended;
  expect(ended.status).toBe(1);
  expect(ended.stderr).toMatch(/^error: flows v0b: the classifier is no longer attached\nhint: [^\n]+\n$/);
  expect(ended.stdout).toMatch(/detached after/);

  veth = ns.addVeth();
  const killed = new Flows([veth.b.name]);
  const ids = await killed.attached();
  killed.child.kill('SIGKILL');
  await killed.ended;
  // A filter of clsact stays with the interface that it is on, until that goes.
  if (qdiscOf(ns, veth.b.name) !== undefined) ns.ip('link', 'delete', veth.b.name);
  await untilGone({ programs: ids });
});

it.each([
  [['v0c'], 1, /^error: no interface "v0c"\nhint: there are v0b, v0a, lo\n$/],
  [['lo'], 1, /lo: the interface is down|lo egress: the interface is down/],
  [['v0b', '--top', '0'], 2, /whole number from 1 to 999999999\./],
  [['v0b', '--direction', 'up'], 2, /Allowed choices are ingress, egress, both/],
  [['v0b', '--rule', 'web'], 2, /a rule such as web=tcp\/443/],
  [['v0b', '--rule', 'a=tcp/1', '--rule', 'b=tcp/1'], 2, /one rule for tcp\/1/],
  [[], 2, /missing required argument 'iface'/],
] as const)('%j: nothing is attached', async (args, status, message) => {
  const ended = await new Flows(args).ended;
  expect(ended).toMatchObject({ status, stdout: '' });
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
  expect([attachedIds('ingress'), attachedIds('egress')]).toEqual([[], []]);
});
