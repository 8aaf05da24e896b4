import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { CLI, endChildren, runModule } from '../../helpers/child.ts';
import { Command, type Ended, endCommands } from '../../helpers/command.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, untilGone, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';
import { sendFrames } from '../../helpers/send.ts';
import { until } from '../../helpers/until.ts';

interface Tally {
  packets: number;
  bytes: number;
}

interface Line {
  time: string;
  interface: string;
  mode: string;
  totals: Record<'tcp' | 'udp' | 'icmp' | 'other', Tally>;
  rates: Record<'tcp' | 'udp' | 'icmp' | 'other', Tally>;
}

const UDP = frames.udp4(frames.bytes(100));
const TCP = frames.tcp6(frames.bytes(500));
const SENT = [
  { frame: UDP, count: 700 },
  { frame: TCP, count: 300 },
  { frame: frames.icmp4(), count: 20 },
  { frame: frames.icmp6(), count: 10 },
  { frame: frames.llc(), count: 5 },
];
const TOTALS = {
  udp: { packets: 700, bytes: 700 * UDP.length },
  tcp: { packets: 300, bytes: 300 * TCP.length },
  icmp: { packets: 30, bytes: 20 * frames.icmp4().length + 10 * frames.icmp6().length },
  other: { packets: 5, bytes: 5 * frames.llc().length },
};

let before: Snapshot;
let ns: Netns;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(() => {
  ns = createNetns();
});
afterEach(() => {
  endCommands();
  endChildren();
  ns.close();
});
afterAll(() => assertNothingLeft(before));

/** `node-ebpf` in the test's namespace. */
class Cli extends Command<Line> {
  constructor(command: readonly string[]) {
    super(['ip', 'netns', 'exec', ns.name, ...command]);
  }

  /** The id of the program that it has on an interface. */
  attached(iface: string): Promise<number> {
    return until(
      () => xdpOf(ns, iface).programId,
      () => `nothing is attached to ${iface}: ${this.stderr}`,
    );
  }
}

function run(args: readonly string[], prefix: readonly string[] = []): Cli {
  return new Cli([...prefix, process.execPath, CLI, ...args]);
}

function expectReadable({ status, stderr }: Ended): void {
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
}

describe('top', () => {
  it.each([
    ['drv', []],
    ['skb', ['--mode', 'skb']],
  ])('counts what is sent, in mode %s, and reports the totals when it is told to end', async (mode, args) => {
    const { a, b } = ns.addVeth();
    const cli = run(['top', b.name, '--json', ...args]);
    const id = await cli.attached(b.name);
    expect(xdpOf(ns, b.name)).toEqual({ mode, programId: id });
    await sendFrames(SENT, { netns: ns, iface: a.name, receiver: b.name });
    await until(() => cli.objects.length > 1);
    cli.child.kill('SIGTERM');
    expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
    const { objects: lines } = cli;
    expect(lines.at(-1)).toMatchObject({ interface: b.name, mode, totals: TOTALS });
    expect(xdpOf(ns, b.name)).toEqual({});
    await untilGone({ programs: [id] });

    // How fast is a matter of the clock, and test/unit/cli.test.ts has a clock of its own: here, that rates are of these packets.
    for (const [index, line] of lines.entries()) {
      expect(Object.keys(line)).toEqual(['time', 'interface', 'mode', 'totals', 'rates']);
      expect(new Date(line.time).toISOString()).toBe(line.time);
      const packets = line.totals.udp.packets - (lines[index - 1]?.totals.udp.packets ?? 0);
      if (index > 0) expect(line.rates.udp.packets > 0).toBe(packets > 0);
      expect(line.rates.udp.bytes / UDP.length).toBeCloseTo(line.rates.udp.packets, 2);
    }
  });

  it('ends by itself after --seconds, with a line per second and one at the end', async () => {
    ns.upLoopback();
    const cli = run(['top', '--seconds', '1.5', '--json']);
    expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
    expect(cli.objects.map((line) => [line.interface, line.mode])).toEqual([
      ['lo', 'skb'],
      ['lo', 'skb'],
    ]);
    expect(xdpOf(ns, 'lo')).toEqual({});
  });

  it('writes aligned lines into a pipe', async () => {
    const { a, b } = ns.addVeth();
    const cli = run(['top', b.name]);
    await cli.attached(b.name);
    await cli.says('time');
    await sendFrames(SENT, { netns: ns, iface: a.name, receiver: b.name });
    await until(() => cli.stdout.split('\n').length > 4);
    cli.child.kill('SIGINT');
    const { status, stdout, stderr } = await cli.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const [title, head = '', ...rows] = stdout.trimEnd().split('\n');
    expect(title).toBe(`${b.name}, drv (native): packets/s and bytes/s, by protocol`);
    expect(head).toMatch(/^time +tcp +udp +icmp +other$/);
    expect(rows.pop()).toMatch(/^detached after [\d.]+ s$/);
    expect(rows.at(-1)).toMatch(/^total +300 +17\d kB +700 +99\.4 kB +30 +\S+ k?B +5 +\d+ B$/);
    for (const row of rows) {
      expect(row).toHaveLength(head.length);
      expect(row).toMatch(/^(\d\d:\d\d:\d\d|total) /);
    }
    expect(stdout).not.toContain('\x1b');
    expect(xdpOf(ns, b.name)).toEqual({});
  });

  it('ends quietly, and detaches, when nobody reads any more', async () => {
    ns.upLoopback();
    const cli = run(['top', 'lo']);
    const id = await cli.attached('lo');
    await cli.says('time');
    cli.child.stdout?.destroy();
    expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
    expect(xdpOf(ns, 'lo')).toEqual({});
    await untilGone({ programs: [id] });
  });

  it('makes traffic of its own with --demo, and says so', async () => {
    ns.upLoopback();
    const cli = run(['top', '--demo', '--seconds', '2']);
    const { status, stdout, stderr } = await cli.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain('demo: also sends UDP datagrams and makes TCP connections on 127.0.0.1\n');
    expect(stdout).toMatch(/^total +[1-9]\d* +\S+ k?B +[1-9]\d* +\S+ k?B +0 +0 B +0 +0 B$/m);
  });

  it('looks into another namespace with --netns', async () => {
    using other = createNetns();
    const { a, b } = other.addVeth();
    const cli = run(['top', b.name, '--netns', other.path, '--json']);
    await until(() => xdpOf(other, b.name).programId);
    await sendFrames([{ frame: UDP, count: 100 }], { netns: other, iface: a.name, receiver: b.name });
    cli.child.kill('SIGTERM');
    expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
    expect(cli.objects.at(-1)?.totals.udp.packets).toBe(100);
    expect(xdpOf(other, b.name)).toEqual({});
  });

  it('says so, and fails, when the interface goes away', async () => {
    const { b } = ns.addVeth();
    const cli = run(['top', b.name]);
    await cli.attached(b.name);
    await cli.says('time');
    ns.ip('link', 'delete', b.name);
    const ended = await cli.ended;
    expectReadable(ended);
    expect(ended.stderr).toContain(`top ${b.name}: the counter is no longer attached`);
    expect(ended.stdout).toMatch(/^detached after/m);
  });

  it('leaves nothing when it is killed', async () => {
    const { b } = ns.addVeth();
    const cli = run(['top', b.name]);
    const id = await cli.attached(b.name);
    cli.child.kill('SIGKILL');
    await cli.ended;
    await until(() => xdpOf(ns, b.name).programId === undefined);
    await untilGone({ programs: [id] });
  });

  it('starts no other process', async () => {
    ns.upLoopback();
    const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-strace-'));
    try {
      const trace = join(folder, 'trace');
      // LeakSanitizer needs the ptrace that strace has.
      const prefix = [
        'env',
        'ASAN_OPTIONS=detect_leaks=0',
        'strace',
        '-f',
        '-qq',
        '-e',
        'trace=execve,execveat,fork,vfork',
        '-o',
        trace,
      ];
      const cli = run(['top', 'lo', '--demo', '--seconds', '1'], prefix);
      expect(await cli.ended).toMatchObject({ status: 0, stderr: '' });
      const calls = readFileSync(trace, 'utf8').split('\n').filter(Boolean);
      expect(calls.filter((line) => !line.includes('execve('))).toEqual([]);
      // The wrapper of scripts/test-asan replaces itself with node.
      expect(new Set(calls.map((line) => line.split(' ')[0])).size).toBe(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('on a terminal', () => {
  const HIDE = '\x1b[?25l';
  const SHOW = '\x1b[?25h';
  const COLOUR = '\x1b[3';

  /** Under script(1): a pseudo-terminal, whose size stty sets first. */
  function terminal(args: readonly string[], environment = ''): Cli {
    const command = `stty cols 80 rows 24; ${environment} exec ${process.execPath} ${CLI} ${args.join(' ')}`;
    return new Cli(['script', '-qec', command, '/dev/null']);
  }

  it('draws a table in place, and gives the cursor back', async () => {
    const { a, b } = ns.addVeth();
    const cli = terminal(['top', b.name, '--seconds', '3']);
    await cli.attached(b.name);
    await sendFrames(SENT, { netns: ns, iface: a.name, receiver: b.name });
    const { status, stdout } = await cli.ended;
    expect(status).toBe(0);
    expect(stdout.indexOf(HIDE)).toBe(0);
    expect(stdout.split(HIDE)).toHaveLength(2);
    expect(stdout.split(SHOW)).toHaveLength(2);
    expect(stdout.trimEnd().endsWith(SHOW)).toBe(true);
    // Every frame but the first goes up over the one before it and clears what is below.
    const drawn = stdout.split('\x1b[0J').length - 1;
    expect(drawn).toBeGreaterThanOrEqual(4);
    expect(stdout.split('\x1b[10A').length - 1).toBe(drawn - 1);
    const last = stdout.split('\x1b[0J').at(-1) ?? '';
    expect(last).toContain('drv (native)');
    expect(last).toContain('detached: means and totals');
    expect(stripVTControlCharacters(last)).toMatch(/^tcp .* 300 .*█/m);
    expect(stripVTControlCharacters(last)).toMatch(/^udp .* 700 .*█/m);
    expect(last).toContain(COLOUR);
    expect(xdpOf(ns, b.name)).toEqual({});
  });

  it('gives the cursor back and prints the totals at ^C', async () => {
    ns.upLoopback();
    const cli = terminal(['top', 'lo']);
    await cli.attached('lo');
    await cli.says(HIDE);
    const node = await until(() => childOf(cli.child.pid));
    process.kill(node, 'SIGINT');
    const { stdout } = await cli.ended;
    expect(stdout).toContain('detached: means and totals');
    expect(stdout.trimEnd().endsWith(SHOW)).toBe(true);
    expect(xdpOf(ns, 'lo')).toEqual({});
  });

  it('uses no colour with NO_COLOR, and no cursor on a dumb terminal', async () => {
    ns.upLoopback();
    const plain = await terminal(['top', '--seconds', '0.1'], 'NO_COLOR=1').ended;
    expect(plain.stdout).toContain(HIDE);
    expect(plain.stdout).not.toContain(COLOUR);
    const dumb = await terminal(['top', '--seconds', '0.1'], 'TERM=dumb').ended;
    expect(dumb.stdout).toContain('packets/s and bytes/s, by protocol');
    expect(dumb.stdout).not.toContain('\x1b');
  });

  it('draws for 80 columns where nobody told a size', async () => {
    ns.upLoopback();
    const command = `stty cols 0 rows 0; exec ${process.execPath} ${CLI} top lo --seconds 0.1`;
    const { status, stdout } = await new Cli(['script', '-qec', command, '/dev/null']).ended;
    expect(status).toBe(0);
    expect(stdout).toContain('share of packets');
  });

  it('gives the cursor back at ^Z, and draws anew afterwards', async () => {
    ns.upLoopback();
    const cli = terminal(['top', 'lo']);
    await cli.attached('lo');
    await cli.says('packets/s');
    const node = await until(() => childOf(cli.child.pid));
    process.kill(node, 'SIGTSTP');
    // script(1) stops after its child, and hands on what that said when both go on. Told to go on too early, it stops for good.
    for (const pid of [node, cli.child.pid]) await until(() => isStopped(pid));
    for (const pid of [cli.child.pid, node]) if (pid !== undefined) process.kill(pid, 'SIGCONT');
    await until(() => {
      const [before, after] = cli.stdout.split(SHOW);
      return before?.split(HIDE).length === 2 && after?.includes(HIDE) && after.includes('packets/s');
    });
    process.kill(node, 'SIGINT');
    const { stdout } = await cli.ended;
    expect(stdout.trimEnd().endsWith(SHOW)).toBe(true);
    expect(xdpOf(ns, 'lo')).toEqual({});
  });

  function isStopped(pid: number | undefined): boolean {
    return / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  }

  function childOf(pid: number | undefined): number | undefined {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? undefined : Number(text.split(' ')[0]);
  }
});

describe('validate --dry-run', () => {
  it('shows what the verifier takes, and what that costs', async () => {
    const { status, stdout, stderr } = await run(['validate', '--dry-run', testObject('pass')]).ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(
      /^program pass: accepted by the verifier \(\d+ instructions processed, \d+ states? at once, \d+ B of stack\)$/m,
    );
  });

  it('shows what it refuses', async () => {
    const { status, stdout } = await run(['validate', '--dry-run', testObject('refused')]).ended;
    expect(status).toBe(1);
    expect(stdout).toMatch(/^error: .* \[verifier-refused\]$/m);
    expect(stdout).toMatch(/^program refused: refused by the verifier \(2 instructions processed, /m);
  });
});

describe('what cannot be', () => {
  it('names the holder of a busy interface, and changes nothing', async () => {
    const { b } = ns.addVeth();
    const holder = runModule(
      `const object = await ebpf.loadObject(${JSON.stringify(testObject('pass'))});
       object.program('pass').attachXdp({ iface: ${JSON.stringify(b.name)}, mode: 'drv' });
       console.log(object.program('pass').id);
       setInterval(() => {}, 1000);`,
      { prefix: ['ip', 'netns', 'exec', ns.name] },
    );
    const id = Number(await holder.line());
    for (const mode of ['drv', 'skb']) {
      const ended = await run(['top', b.name, '--mode', mode]).ended;
      expectReadable(ended);
      expect(ended.stdout).toBe('');
      expect(ended.stderr).toContain(`held by program ${id} "pass"`);
      expect(ended.stderr.split('\n')).toHaveLength(3);
      expect(xdpOf(ns, b.name)).toEqual({ mode: 'drv', programId: id });
    }
    const { stderr } = await run(['top', b.name, '--json']).ended;
    expect(JSON.parse(stderr)).toMatchObject({ error: { name: 'EbpfAttachError', code: 'EBUSY' } });
    holder.process.kill('SIGTERM');
    await holder.ended();
  });

  it('names the interfaces that there are', async () => {
    ns.upLoopback();
    ns.addVeth();
    const ended = await run(['top', 'v0c']).ended;
    expectReadable(ended);
    expect(ended.stderr).toMatch(/^error: no interface "v0c"\nhint: there are v0b, v0a, lo\n$/);
    const { stderr } = await run(['top', 'v0c', '--json']).ended;
    expect(JSON.parse(stderr)).toMatchObject({
      error: { name: 'EbpfAttachError', code: 'ERR_EBPF_NO_INTERFACE', hint: 'there are v0b, v0a, lo' },
    });
  });

  it('says that an interface is down', async () => {
    const ended = await run(['top', 'lo']).ended;
    expectReadable(ended);
    expect(ended.stderr).toContain('lo: the interface is down');
  });

  it('says that a namespace does not exist', async () => {
    const ended = await run(['top', 'lo', '--netns', '/run/netns/not-there']).ended;
    expectReadable(ended);
    expect(ended.stderr).toContain('/run/netns/not-there');
  });

  test.each([
    ['bpf,sys_admin', ['CAP_BPF']],
    ['net_admin,sys_admin', ['CAP_NET_ADMIN']],
    ['bpf,net_admin,sys_admin', ['CAP_BPF', 'CAP_NET_ADMIN']],
  ])('without %s it names what is missing', async (dropped, missing) => {
    ns.upLoopback();
    const bounding = dropped
      .split(',')
      .map((name) => `-${name}`)
      .join(',');
    const prefix = ['setpriv', `--bounding-set=${bounding}`];
    const ended = await run(['top', 'lo'], prefix).ended;
    expectReadable(ended);
    expect(ended.stderr).toMatch(new RegExp(`^hint: .*${missing.join(', ')}$`, 'm'));
    const { stderr } = await run(['top', 'lo', '--json'], prefix).ended;
    expect(JSON.parse(stderr)).toMatchObject({ error: { name: 'EbpfPermissionError', code: 'EPERM' } });
    expect(xdpOf(ns, 'lo')).toEqual({});
  });

  it('inspects and validates without any privilege', () => {
    // Not another user: the checkout may be in a home that only its owner may enter.
    const bare = ['--bounding-set=-all', '--no-new-privs'];
    for (const command of ['inspect', 'validate']) {
      const args = [...bare, process.execPath, CLI, command, testObject('pass')];
      expect(execFileSync('setpriv', args, { encoding: 'utf8' })).toContain('pass');
    }
  });
});
