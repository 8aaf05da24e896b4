import { isDeepStrictEqual } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { native } from '../../../lib/addon/native.ts';
import { loadObject, loadObjectSync } from '../../../lib/object/object.ts';
import { type InterfaceTally, TracepointNet } from '../../../lib/programs/tracepoint-net.ts';
import { rejection } from '../../helpers/caught.ts';
import { testWith } from '../../helpers/features.ts';
import * as frames from '../../helpers/frames.ts';
import { EtherType, Protocol } from '../../helpers/frames.ts';
import { heldIds } from '../../helpers/held.ts';
import { assertNothingLeft, listed, type Snapshot, snapshotIds, untilGone } from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { shippedObject } from '../../helpers/objects.ts';
import { type Batch, sendFrames } from '../../helpers/send.ts';
import {
  type Counted,
  interfaceCounters,
  netnsInode,
  stackCounter,
  type Traffic,
  traffic,
} from '../../helpers/traffic.ts';
import { until } from '../../helpers/until.ts';
import { World } from '../../helpers/world.ts';

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
const ZERO: InterfaceTally = { rx: { packets: 0, bytes: 0 }, tx: { packets: 0, bytes: 0 } };

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(NAMES);
});
afterAll(() => assertNothingLeft(before));

let ns: Netns;
let other: Netns;
const open: TracepointNet[] = [];
beforeEach(() => {
  ns = createNetns();
  other = createNetns();
});
afterEach(() => {
  for (const net of open.splice(0)) net.close();
  ns.close();
  other.close();
});

async function attach(netns: Netns, iface?: string | number): Promise<TracepointNet> {
  const net = await TracepointNet.attach({ netns: netns.path, ...(iface === undefined ? {} : { iface }) });
  open.push(net);
  return net;
}

function sum(batches: readonly Batch[]): Counted {
  return {
    packets: batches.reduce((total, { count }) => total + count, 0),
    bytes: batches.reduce((total, { count, frame }) => total + count * frame.length, 0),
  };
}

/** A veth pair from ns to other, with an address of each family on both ends. */
async function connect(): Promise<void> {
  const { b } = ns.addVeth();
  ns.ip('link', 'set', b.name, 'netns', other.name);
  other.ip('link', 'set', b.name, 'up');
  for (const [netns, iface, host] of [
    [ns, 'v0a', 1],
    [other, 'v0b', 2],
  ] as const) {
    netns.addAddress(iface, `192.0.2.${host}/24`);
    netns.addAddress(iface, `2001:db8::${host}/64`);
    await until(() => /state UP/.test(netns.ip('link', 'show', 'dev', iface)));
    // One ICMP error a second, else.
    netns.exec('sh', [
      '-ec',
      'echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit',
    ]);
  }
}

/** Once both say the same, what it is; else as far as they got. */
async function agreed<T>(ours: () => T, kernel: () => T): Promise<[T, T]> {
  let pair: [T, T] = [ours(), kernel()];
  await until(() => {
    pair = [ours(), kernel()];
    return isDeepStrictEqual(pair[0], pair[1]);
  }).catch(() => undefined);
  return pair;
}

function since(start: ReturnType<typeof interfaceCounters>, netns: Netns): Record<string, InterfaceTally> {
  const minus = (a: Counted, b: Counted = { packets: 0, bytes: 0 }) => ({
    packets: a.packets - b.packets,
    bytes: a.bytes - b.bytes,
  });
  return Object.fromEntries(
    Object.entries(interfaceCounters(netns)).map(([name, { rx, tx }]) => [
      name,
      { rx: minus(rx, start[name]?.rx), tx: minus(tx, start[name]?.tx) },
    ]),
  );
}

/** Attached, with the kernel's counts as they were then: what passes between the two is in one of them alone. */
function started(
  netns: Netns,
): Promise<{ net: TracepointNet; netns: Netns; start: ReturnType<typeof interfaceCounters> }> {
  return until(async () => {
    const net = await attach(netns);
    const start = interfaceCounters(netns);
    if (isDeepStrictEqual(since(start, netns), net.interfaces())) return { net, netns, start };
    net.close();
    return undefined;
  });
}

/** What the kernel says that programs of these names missed, because they were at work on the same CPU. */
function misses(): number {
  return listed('prog')
    .filter(({ name }) => NAMES.some((known) => known.slice(0, 15) === name))
    .reduce((total, { recursion_misses = 0 }) => total + recursion_misses, 0);
}

function expectLost(net: TracepointNet, lost: number): void {
  const counted = net.lost;
  expect(counted).toBeGreaterThanOrEqual(lost);
  expect(counted).toBeLessThanOrEqual(lost + misses());
}

describe('interfaces', () => {
  const CRAFTED: readonly Batch[] = [
    { count: 900, frame: frames.udp4() },
    { count: 700, frame: frames.udp6(frames.bytes(301)) },
    { count: 300, frame: frames.tcp4(frames.bytes(1_400)) },
    { count: 200, frame: frames.tcp6() },
    { count: 100, frame: frames.icmp4() },
    { count: 90, frame: frames.udp4(undefined, { tags: frames.SINGLE_TAG }) },
    { count: 80, frame: frames.udp6(undefined, { tags: frames.QINQ }) },
    { count: 70, frame: frames.ethernet(EtherType.ARP, frames.arp()) },
    { count: 60, frame: frames.llc() },
    {
      count: 50,
      frame: frames.ethernet(
        EtherType.IPV4,
        frames.ipv4(Protocol.UDP, frames.bytes(64), { fragmentOffset: 8, moreFragments: true }),
      ),
    },
  ];

  it('count crafted frames exactly, each direction by itself, whichever CPU sends them', async () => {
    const { a, b } = ns.addVeth();
    const net = await attach(ns);
    expect(net.interfaces()).toEqual({ lo: ZERO, [a.name]: ZERO, [b.name]: ZERO });

    const there = await sendFrames(CRAFTED, { netns: ns, iface: a.name, receiver: b.name, cpu: 0 });
    const half = CRAFTED.slice(0, 5);
    const back = await sendFrames(half, { netns: ns, iface: b.name, receiver: a.name, cpu: 1 });
    expect([there, back]).toMatchObject([
      { sent: sum(CRAFTED).packets, received: sum(CRAFTED).packets },
      { sent: sum(half).packets, received: sum(half).packets },
    ]);
    expect(net.interfaces()).toEqual({
      lo: ZERO,
      [a.name]: { tx: sum(CRAFTED), rx: sum(half) },
      [b.name]: { tx: sum(half), rx: sum(CRAFTED) },
    });
    expectLost(net, 0);
  });

  it.each<Pick<Traffic, 'mode' | 'count' | 'size'>>([
    { mode: 'datagrams', count: 100, size: 100 },
    { mode: 'datagrams', count: 20, size: 9_000 }, // in fragments
    { mode: 'connections', count: 3, size: 4_000_000 }, // in segments that GSO merged
    { mode: 'unheard', count: 10, size: 50 }, // answered by ICMP
  ])('agree with /proc/net/dev on both ends of a veth pair: $count $mode of $size bytes', async (job) => {
    await connect();
    const ends = [await started(ns), await started(other)];
    const [one, two] = [
      { client: ns, server: other },
      { client: other, server: ns },
    ] as const;
    await traffic({ ...one, ...job, address: '192.0.2.2' });
    await traffic({ ...one, ...job, address: '2001:db8::2' });
    await traffic({ ...two, ...job, address: '192.0.2.1' });
    await traffic({ ...two, ...job, address: '2001:db8::1' });
    for (const { net, netns, start } of ends) {
      const [ours, kernel] = await agreed(
        () => net.interfaces(),
        () => since(start, netns),
      );
      expect(ours).toEqual(kernel);
      const least = 2 * job.count * job.size;
      expect(Object.values(ours).reduce((bytes, { rx }) => bytes + rx.bytes, 0)).toBeGreaterThan(least);
    }
  });

  it('agree with /proc/net/dev on lo', async () => {
    ns.upLoopback();
    const { net, start } = await started(ns);
    await traffic({
      mode: 'datagrams',
      client: ns,
      server: ns,
      address: '127.0.0.1',
      count: 50,
      size: 9_000,
    });
    await traffic({ mode: 'connections', client: ns, server: ns, address: '::1', count: 3, size: 300_000 });
    const [ours, kernel] = await agreed(
      () => net.interfaces(),
      () => since(start, ns),
    );
    expect(ours).toEqual(kernel);
    expect(ours.lo?.rx.packets).toBeGreaterThan(50);
  });

  it('are those of one namespace, though others have the same ifindexes', async () => {
    const [here, there] = [ns.addVeth(), other.addVeth()];
    expect(here.b.ifindex).toBe(there.b.ifindex);
    const [net, elsewhere] = [await attach(ns), await attach(other)];
    const batch = [{ frame: frames.udp4(), count: 120 }];
    await sendFrames(batch, { netns: ns, iface: here.a.name, receiver: here.b.name });
    expect(net.interfaces()[here.b.name]?.rx).toEqual(sum(batch));
    expect(elsewhere.interfaces()).toEqual({ lo: ZERO, [there.a.name]: ZERO, [there.b.name]: ZERO });
  });

  it('are one where one is asked for, by name or by ifindex', async () => {
    const { a, b } = ns.addVeth();
    const byName = await attach(ns, b.name);
    const byIndex = await attach(ns, a.ifindex);
    const batch = [{ frame: frames.udp6(), count: 75 }];
    await sendFrames(batch, { netns: ns, iface: a.name, receiver: b.name });
    expect(byName.interfaces()).toEqual({ [b.name]: { ...ZERO, rx: sum(batch) } });
    expect(byIndex.interfaces()).toEqual({ [a.name]: { ...ZERO, tx: sum(batch) } });
  });

  it('keep the count of one that is gone under its name, until another takes that', async () => {
    const first = ns.addVeth();
    const net = await attach(ns);
    const batch = [{ frame: frames.udp4(), count: 33 }];
    await sendFrames(batch, { netns: ns, iface: first.a.name, receiver: first.b.name });
    ns.ip('link', 'delete', first.a.name);
    const [sender, receiver] = [
      { ...ZERO, tx: sum(batch) },
      { ...ZERO, rx: sum(batch) },
    ];
    expect(net.interfaces()).toEqual({ lo: ZERO, [first.a.name]: sender, [first.b.name]: receiver });

    ns.ip('link', 'add', first.a.name, 'type', 'veth', 'peer', 'name', 'fresh');
    expect(ns.interface(first.a.name).ifindex).not.toBe(first.a.ifindex);
    const expected = {
      lo: ZERO,
      [`ifindex ${first.a.ifindex}`]: sender,
      [first.b.name]: receiver,
      [first.a.name]: ZERO,
      fresh: ZERO,
    };
    expect(net.interfaces()).toEqual(expected);
    ns.ip('link', 'set', 'fresh', 'name', 'renamed');
    const { fresh, ...rest } = expected;
    expect(net.interfaces()).toEqual({ ...rest, renamed: fresh });
    // The whole namespace goes, and another one has its path.
    const gone = createNetns();
    const late = await attach(gone);
    gone.close();
    expect(late.interfaces()).toEqual({});
  });

  it('that found no room are counted as lost', async () => {
    const { a, b } = ns.addVeth();
    const net = await TracepointNet.attach({ netns: ns.path, maxInterfaces: 1 });
    open.push(net);
    const [there, back] = [[{ frame: frames.udp4(), count: 30 }], [{ frame: frames.udp6(), count: 20 }]];
    await sendFrames(there, { netns: ns, iface: a.name, receiver: b.name });
    expectLost(net, 0);
    await sendFrames(back, { netns: ns, iface: b.name, receiver: a.name });
    expect(net.interfaces()).toEqual({
      lo: ZERO,
      [a.name]: { ...ZERO, tx: sum(there) },
      [b.name]: { ...ZERO, rx: sum(there) },
    });
    expectLost(net, 2 * sum(back).packets); // sent by b, received by a
  });
});

describe('drops', () => {
  testWith('drop reasons')('of datagrams to a closed port are NO_SOCKET, one each', async () => {
    for (const netns of [ns, other]) netns.upLoopback();
    const [net, elsewhere] = [await attach(ns), await attach(other)];
    const job = { mode: 'unheard', client: ns, server: ns, size: 10 } as const;
    await traffic({ ...job, address: '127.0.0.1', count: 40 });
    await traffic({ ...job, address: '::1', count: 25 });
    expect(net.drops().NO_SOCKET).toBe(65);
    expect(stackCounter(ns, 'NoPorts', 'Udp') + stackCounter(ns, 'Udp6NoPorts')).toBe(65);
    expect(elsewhere.drops()).toEqual({});
    await traffic({ ...job, address: '127.0.0.1', count: 2 });
    expect(net.drops().NO_SOCKET).toBe(67);
  });

  testWith('drop reasons')('are those of one interface where one is asked for', async () => {
    const [first, second] = [ns.addVeth(), ns.addVeth()];
    const all = await attach(ns);
    const one = await attach(ns, first.b.name);
    const unwanted = [{ frame: frames.ethernet(EtherType.LLDP, frames.bytes(60)), count: 17 }];
    const more = [{ ...unwanted[0], count: 5 } as Batch];
    const reports = [
      await sendFrames(unwanted, { netns: ns, iface: first.a.name, receiver: first.b.name }),
      await sendFrames(more, { netns: ns, iface: second.a.name, receiver: second.b.name }),
    ];
    expect(reports.map(({ rxDropped }) => rxDropped)).toEqual([17, 5]);
    expect(all.drops()).toEqual({ UNHANDLED_PROTO: 22 });
    expect(one.drops()).toEqual({ UNHANDLED_PROTO: 17 });
  });

  it('are counted whether or not the kernel says why', async () => {
    const { a, b } = ns.addVeth();
    const net = await attach(ns);
    const unwanted = [{ frame: frames.ethernet(EtherType.LLDP, frames.bytes(60)), count: 8 }];
    const { rxDropped } = await sendFrames(unwanted, { netns: ns, iface: a.name, receiver: b.name });
    expect(rxDropped).toBe(8);
    expect(Object.values(net.drops())).toEqual([8]);
    expect(net.strayDrops).toBeGreaterThanOrEqual(0);
  });
});

test("the names of numbers are those of the kernel's BTF", async () => {
  const { names, values } = await native().kernelEnum('tcp_ca_state');
  expect(Object.fromEntries(names.map((name, index) => [name, values[index]]))).toMatchObject({
    TCP_CA_Open: 0,
    TCP_CA_Disorder: 1,
    TCP_CA_CWR: 2,
    TCP_CA_Recovery: 3,
    TCP_CA_Loss: 4,
  });
  expect(await native().kernelEnum('no_such_enum')).toEqual({ names: [], values: [] });
});

describe('a table of reasons that is full', () => {
  testWith('drop reasons')('loses no drop unsaid', async () => {
    const { a, b } = ns.addVeth();
    using object = await loadObject(shippedObject('tracepoint_net'), {
      globals: { only_netns: netnsInode(ns) },
      maps: { drops: { maxEntries: 1 } },
    });
    object.attachAll();
    const batches = [
      { frame: frames.ethernet(EtherType.LLDP, frames.bytes(60)), count: 30 },
      { frame: frames.udp4(), count: 20 }, // for another Ethernet address
    ];
    await sendFrames(batches, { netns: ns, iface: a.name, receiver: b.name });
    using drops = object.map('drops').reader();
    using counters = object.map('net_counters').reader();
    counters.read();
    expect([drops.read(), drops.values[0], counters.values[2]]).toEqual([1, 30, 20]);
  });
});

describe('TCP', () => {
  it('goes through exactly the states that its connections do', async () => {
    ns.upLoopback();
    const net = await attach(ns);
    const job = { mode: 'connections', client: ns, server: ns, size: 100 } as const;
    await traffic({ ...job, address: '127.0.0.1', count: 6 });
    await traffic({ ...job, address: '::1', count: 4 });
    const client = ['SYN_SENT', 'ESTABLISHED', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE'];
    const server = ['LISTEN', 'SYN_RECV', 'ESTABLISHED', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSE'];
    const steps = (states: string[]) =>
      states.slice(1).map((state, index): [string, number] => [`${states[index]}→${state}`, 10]);
    await until(() => net.tcp().transitions['LAST_ACK→CLOSE'] === 10).catch(() => undefined);
    expect(net.tcp()).toEqual({
      retransmits: 0,
      transitions: {
        'CLOSE→SYN_SENT': 10,
        ...Object.fromEntries([...steps(client), ...steps(server)]),
        'CLOSE→LISTEN': 2,
        'LISTEN→CLOSE': 2,
      },
    });
  });

  it('retransmits what nobody answers, as often as /proc/net/snmp says', async () => {
    const { a } = ns.addVeth();
    ns.addAddress(a.name, '192.0.2.1/24');
    ns.ip('neighbour', 'add', '192.0.2.9', 'lladdr', '02:00:00:00:00:99', 'dev', a.name);
    const [net, elsewhere] = [await attach(ns), await attach(other)];
    const from = stackCounter(ns, 'RetransSegs', 'Tcp');
    // SYNs go out 1 and 2, or 1 and 3 seconds after the first.
    const silent = `
import socket
s = socket.socket()
s.settimeout(3.5)
try: s.connect(("192.0.2.9", 80))
except TimeoutError: pass`;
    ns.exec('/usr/bin/python3', ['-c', silent]);
    const counted = net.tcp();
    expect(counted.retransmits).toBeGreaterThanOrEqual(2);
    expect(counted.retransmits).toBe(stackCounter(ns, 'RetransSegs', 'Tcp') - from);
    expect(counted.transitions).toEqual({ 'CLOSE→SYN_SENT': 1, 'SYN_SENT→CLOSE': 1 });
    expect(elsewhere.tcp()).toEqual({ retransmits: 0, transitions: {} });
  });
});

describe('attach and close', () => {
  it('leave nothing of five programs behind, and nothing answers then', async () => {
    const net = await attach(ns);
    const mine = heldIds('prog');
    expect(mine.length).toBeGreaterThanOrEqual(5);
    net.close();
    net.close();
    const closed = { name: 'EbpfStateError' };
    expect(() => net.interfaces()).toThrow(expect.objectContaining(closed));
    expect(() => net.drops()).toThrow(expect.objectContaining(closed));
    expect(() => net.tcp()).toThrow(expect.objectContaining(closed));
    expect(() => net.lost).toThrow(expect.objectContaining(closed));
    expect(() => net.strayDrops).toThrow(expect.objectContaining(closed));
    await untilGone({ programs: mine });
  });

  it('refuse what is no interface or no namespace, by typed errors', async () => {
    ns.addVeth();
    const failure = await rejection(TracepointNet.attach({ netns: ns.path, iface: 'v0c' }));
    expect(failure).toMatchObject({ name: 'EbpfAttachError', code: 'ERR_EBPF_NO_INTERFACE', target: 'v0c' });
    expect(await rejection(TracepointNet.attach({ netns: '/run/netns/not-there' }))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ENOENT',
    });
    expect(await rejection(TracepointNet.attach({ netns: '/etc/passwd' }))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'EINVAL',
    });
    expect(await rejection(TracepointNet.attach({ netns: {} as string }))).toBeInstanceOf(TypeError);
    expect(await rejection(TracepointNet.attach({ iface: -1 }))).toBeInstanceOf(TypeError);
    for (const maxInterfaces of [0, 1.5, 1e9]) {
      expect(await rejection(TracepointNet.attach({ maxInterfaces }))).toBeInstanceOf(RangeError);
    }
  });

  it('take back what is attached where the kernel refuses one of the five', async () => {
    const world = new World();
    try {
      const body = `
        const { readdirSync, readlinkSync } = await import('node:fs');
        const words = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } };
        const left = () => readdirSync('/proc/self/fd').filter((fd) => words(fd).includes('bpf')).length;
        // strace counts the calls of each thread: this one, which attaches, has to make more of them than the one that loads.
        const spec = { name: 'padding', type: 'array', keySize: 4, valueSize: 4, maxEntries: 1 };
        for (let i = 0; i < 100; i++) ebpf.BpfMap.create(spec).close();
        try {
          (await programs.TracepointNet.attach({ netns: at.netns })).close();
          console.log('attached', left());
        } catch (error) {
          console.log(error.name, error.code, left());
        }`;
      const { calls, stdout } = await world.bpfCalls(body);
      expect(stdout).toBe('attached 0\n');
      const attaching = /bpf\(BPF_(RAW_TRACEPOINT_OPEN|LINK_CREATE)/;
      // The programs are attached by the thread that closes them: another one loads and probes.
      const thread = calls.findLast((line) => attaching.test(line))?.split(' ')[0];
      const own = calls.filter((line) => line.startsWith(`${thread} `));
      const attached = [...own.keys()].filter((index) => attaching.test(own[index] ?? ''));
      const third = (attached.at(-3) ?? 0) + 1;
      expect(calls.length - own.length).toBeLessThan(third);
      const inject = ['-e', `inject=bpf:error=EBUSY:when=${third}`];
      expect((await world.bpfCalls(body, { inject })).stdout).toBe('EbpfAttachError EBUSY 0\n');
    } finally {
      await world.close();
    }
  });

  testWith('verified instructions')('cost the verifier no more than they did', () => {
    // Linux 6.18 processes 68, 69, 196, 25 and 26 instructions of what clang 14 makes; a blow-up of paths is tenfold.
    using object = loadObjectSync(shippedObject('tracepoint_net'));
    for (const program of Object.values(object.programs)) {
      const { verifiedInstructions } = program.stats();
      expect(verifiedInstructions).toBeGreaterThan(0);
      expect(verifiedInstructions).toBeLessThan(1_000);
    }
  });
});
