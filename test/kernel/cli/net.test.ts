import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { NetTotals } from '../../../lib/meters/net-meter.ts';
import { CLI } from '../../helpers/child.ts';
import { Command, endCommands } from '../../helpers/command.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { sendFrames } from '../../helpers/send.ts';
import { traffic } from '../../helpers/traffic.ts';
import { until } from '../../helpers/until.ts';

interface Line {
  time: string;
  totals: NetTotals;
  rates: Omit<NetTotals, 'lost'>;
}

const NAMES = [
  'net_dev_xmit',
  'netif_receive_skb',
  'kfree_skb',
  'tcp_retransmit_skb',
  'inet_sock_set_state',
  'net_dev_stats',
  'drops',
  'tcp_states',
  'net_counters',
  'tracepoint_net.rodata',
];
const BATCH = [{ frame: frames.udp4(frames.bytes(200)), count: 250 }];
const SENT = { packets: 250, bytes: 250 * frames.udp4(frames.bytes(200)).length };

let before: Snapshot;
let ns: Netns;
beforeAll(() => {
  before = snapshotIds(NAMES);
});
beforeEach(() => {
  ns = createNetns();
});
afterEach(() => {
  endCommands();
  ns.close();
});
afterAll(() => assertNothingLeft(before));

/** A command in the test's namespace. */
class Running extends Command<Line> {
  constructor(command: readonly string[]) {
    super(['ip', 'netns', 'exec', ns.name, ...command]);
  }

  /** It counts by the time it has written something. */
  counts(): Promise<true> {
    return until(
      () => this.stdout.length > 0,
      () => `it wrote nothing: ${this.stderr}`,
    );
  }
}

function net(...args: string[]): Running {
  return new Running([process.execPath, CLI, 'net', ...args]);
}

describe('net', () => {
  it('writes an object per second, whose last one has the totals', async () => {
    const { a, b } = ns.addVeth();
    ns.upLoopback();
    const cli = net('--json');
    await cli.counts();
    await sendFrames(BATCH, { netns: ns, iface: a.name, receiver: b.name });
    const job = { client: ns, server: ns, address: '127.0.0.1', size: 10 } as const;
    await traffic({ mode: 'connections', ...job, count: 4 });
    await until(() => cli.objects.at(-1)?.totals.tcp.transitions['LAST_ACK→CLOSE'] === 4);
    cli.child.kill('SIGTERM');
    expect([(await cli.ended).status, cli.stderr]).toEqual([0, '']);
    const last = cli.objects.at(-1);
    expect(Object.keys(last?.totals.interfaces ?? {})).toEqual(['lo', ...[b, a].map(({ name }) => name)]);
    expect(last?.totals.interfaces[a.name]?.tx).toEqual(SENT);
    expect(last?.totals.interfaces[b.name]?.rx).toEqual(SENT);
    expect(last?.totals.tcp.transitions).toMatchObject({ 'CLOSE→SYN_SENT': 4, 'SYN_SENT→ESTABLISHED': 4 });
    // The rates of each second are of what came since the one before.
    for (const [index, line] of cli.objects.entries()) {
      expect(new Date(line.time).toISOString()).toBe(line.time);
      const was = cli.objects[index - 1]?.totals.interfaces[b.name]?.rx.packets;
      if (was === undefined) continue;
      const more = (line.totals.interfaces[b.name]?.rx.packets ?? 0) > was;
      expect((line.rates.interfaces[b.name]?.rx.packets ?? 0) > 0).toBe(more);
    }
  });

  it('writes aligned lines into a pipe, of one interface where one is named', async () => {
    const { a, b } = ns.addVeth();
    const cli = net('--iface', b.name);
    await cli.counts();
    await sendFrames(BATCH, { netns: ns, iface: a.name, receiver: b.name });
    cli.child.kill('SIGINT');
    expect([(await cli.ended).status, cli.stderr]).toEqual([0, '']);
    const [title, head = '', ...rest] = cli.lines;
    expect(title).toMatch(new RegExp(`^${b.name}: packets/s`));
    const total = rest.find((line) => line.startsWith('total')) ?? '';
    expect(total).toMatch(/^total +250 +60\.5 kB +0 +0 B /);
    expect(total).toHaveLength(head.length);
    expect(rest).toContain(`interface ${b.name}: rx 250 packets, 60.5 kB; tx 0 packets, 0 B`);
    expect(rest.some((line) => line.includes(a.name))).toBe(false);
    expect(rest.at(-1)).toMatch(/^detached after [\d.]+ s$/);
    expect(cli.stdout).not.toContain('\x1b');
  });

  it('ends by itself after --seconds, in another namespace too', async () => {
    const other = createNetns();
    try {
      const cli = net('--netns', other.path, '--seconds', '1.5', '--json');
      expect([(await cli.ended).status, cli.stderr]).toEqual([0, '']);
      expect(cli.objects).toHaveLength(2);
      expect(Object.keys(cli.objects[0]?.totals.interfaces ?? {})).toEqual(['lo']);
    } finally {
      other.close();
    }
  });

  it('draws tables on a terminal, and leaves the last ones', async () => {
    const { b } = ns.addVeth();
    const command = `stty cols 90 rows 40; exec ${process.execPath} ${CLI} net --seconds 1`;
    const cli = new Running(['script', '-qec', command, '/dev/null']);
    expect((await cli.ended).status).toBe(0);
    const last = cli.stdout.split('\x1b[0J').at(-1) ?? '';
    expect(last).toContain('detached: means and totals');
    expect(last).toMatch(new RegExp(`^${b.name} `, 'm'));
    expect(last).toContain('retransmits');
  });

  it('says what is wrong in two lines at most', async () => {
    ns.addVeth();
    const cli = net('--iface', 'v0c');
    expect([(await cli.ended).status, cli.stdout]).toEqual([1, '']);
    expect(cli.stderr).toMatch(/^error: no interface "v0c"\nhint: there are [^\n]*v0a[^\n]*\n$/);
    const json = net('--netns', '/run/netns/not-there', '--json');
    expect((await json.ended).status).toBe(1);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { name: 'EbpfAttachError', code: 'ENOENT' } });
    const nobody = new Running([
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      '--inh-caps=-all',
      process.execPath,
      CLI,
      'net',
      '--json',
    ]);
    expect((await nobody.ended).status).toBe(1);
    expect(JSON.parse(nobody.stderr)).toMatchObject({ error: { name: 'EbpfPermissionError' } });
  });
});
