import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Flow } from '../../../lib/programs/flow.ts';
import { TcClassifier, type TcClassifierOptions } from '../../../lib/programs/tc-classifier.ts';
import { caught, rejection } from '../../helpers/caught.ts';
import { dissect, type Facts } from '../../helpers/dissect.ts';
import { kernelIsAtLeast, testWith, whyNot } from '../../helpers/features.ts';
import * as frames from '../../helpers/frames.ts';
import { EtherType, Protocol } from '../../helpers/frames.ts';
import { assertNothingLeft, bpftool, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { type Batch, PYTHON, sendFrames } from '../../helpers/send.ts';
import type { Direction } from '../../helpers/tc.ts';
import { until } from '../../helpers/until.ts';
import { World } from '../../helpers/world.ts';

type Via = 'tcx' | 'clsact';
const VIAS: readonly Via[] = whyNot('tcx') === undefined ? ['tcx', 'clsact'] : ['clsact'];
const RULES: TcClassifierOptions['rules'] = [
  { protocol: 'udp', port: 7, class: 'echo' },
  { protocol: 'tcp', port: 80, class: 'web' },
  { protocol: 'tcp', port: 443, class: 'web' },
];

let before: Snapshot;
let world: World;
beforeEach(() => {
  before = snapshotIds(['priorities', 'tc_priority']);
  world = new World();
});
afterEach(async () => {
  await world.close();
  await assertNothingLeft(before);
});

async function attach(
  options: Partial<Parameters<typeof TcClassifier.attach>[0]> = {},
): Promise<TcClassifier> {
  return world.hold(await TcClassifier.attach({ ...world.at, ...options }));
}

/** What is sent, each batch with its class in words. */
const tags = [
  { type: EtherType.QINQ, id: 9 },
  { type: EtherType.VLAN, id: 8 },
  { type: EtherType.VLAN, id: 7 },
];
const over4 = (payload: Uint8Array, options: frames.IPv4Options, protocol: number = Protocol.TCP) =>
  frames.ethernet(EtherType.IPV4, frames.ipv4(protocol, payload, options));
const over6 = (extensions: readonly frames.Extension[]) =>
  frames.ethernet(EtherType.IPV6, frames.ipv6(Protocol.UDP, frames.udp(6), { extensions }));
const TRAFFIC: readonly (Batch & { readonly class: string })[] = [
  { class: 'echo', count: 900, frame: frames.udp4() },
  { class: 'echo', count: 100, frame: frames.udp6(frames.bytes(301)) },
  { class: 'web', count: 400, frame: frames.tcp4() },
  { class: 'web', count: 100, frame: frames.tcp6(frames.bytes(1_000)) },
  { class: 'other', count: 100, frame: frames.icmp4() },
  { class: 'other', count: 50, frame: frames.icmp6() },
  { class: 'echo', count: 110, frame: frames.udp4(frames.bytes(1_400), { tags: frames.SINGLE_TAG }) },
  { class: 'web', count: 120, frame: frames.tcp6(undefined, { tags: frames.QINQ }) },
  { class: 'other', count: 130, frame: frames.udp4(undefined, { tags }) },
  { class: 'other', count: 160, frame: frames.ethernet(EtherType.ARP, frames.arp()) },
  { class: 'other', count: 180, frame: frames.llc() },
  ...Array.from({ length: 11 }, (_, i) => ({
    class: 'web',
    count: 10 + i,
    frame: over4(frames.tcp(4), { ihl: 5 + i }),
  })),
  { class: 'web', count: 31, frame: over4(frames.tcp(4), { moreFragments: true }) },
  { class: 'other', count: 32, frame: over4(frames.tcp(4), { fragmentOffset: 1_480 }) },
  {
    class: 'echo',
    count: 33,
    frame: over6([{ kind: 'hop-by-hop' }, { kind: 'fragment', moreFragments: true }]),
  },
  { class: 'other', count: 34, frame: over6([{ kind: 'fragment', offset: 1_448 }]) },
  {
    class: 'echo',
    count: 35,
    frame: over6([{ kind: 'routing', length: 24 }, { kind: 'ah' }, { kind: 'destination' }]),
  },
  ...[...Array(60).keys()].flatMap((i) => {
    // Cut off at every byte: in their class by their ports, where they still have them.
    const udp = frames.udp4().subarray(0, 15 + i);
    const tcp = frames.tcp6().subarray(0, 15 + i);
    return [
      { class: udp.length >= 38 ? 'echo' : 'other', count: 1, frame: udp },
      { class: tcp.length >= 58 ? 'web' : 'other', count: 1, frame: tcp },
    ];
  }),
];
const CLASSES = ['other', 'echo', 'web'];

interface Tally {
  packets: number;
  bytes: number;
}

function sum(batches: Iterable<Batch>): Tally {
  const total = { packets: 0, bytes: 0 };
  for (const { count, frame } of batches) {
    total.packets += count;
    total.bytes += count * frame.length;
  }
  return total;
}

const NOTHING: Tally = { packets: 0, bytes: 0 };
const NUMBERS: Record<string, number> = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58 };

function byFlow(batches: readonly Batch[]): Map<string, Tally> {
  const flows = new Map<string, Batch[]>();
  for (const batch of batches) {
    const facts = dissect(batch.frame);
    if (facts) flows.set(named(facts), [...(flows.get(named(facts)) ?? []), batch]);
  }
  return new Map([...flows].map(([name, sent]) => [name, sum(sent)]));
}

function named({ protocol, source, sourcePort, destination, destinationPort }: Facts | Flow): string {
  const number = typeof protocol === 'number' ? protocol : NUMBERS[protocol];
  return `${number} ${source} ${sourcePort} ${destination} ${destinationPort}`;
}

function counted(flows: readonly Flow[], direction: Direction): Map<string, Tally> {
  const own = flows.filter((flow) => flow.direction === direction);
  return new Map(own.map((flow) => [named(flow), { packets: flow.packets, bytes: flow.bytes }]));
}

/** /proc/net/dev's word on both ways. */
function device(name: string): { rx: Tally; tx: Tally } {
  const lines = world.netns.exec('cat', ['/proc/net/dev']).split('\n');
  const words = lines.map((line) => line.trim().split(/[:\s]+/)).find(([first]) => first === name) ?? [];
  const [rxBytes = 0, rxPackets = 0, , , , , , , txBytes = 0, txPackets = 0] = words.slice(1).map(Number);
  return { rx: { packets: rxPackets, bytes: rxBytes }, tx: { packets: txPackets, bytes: txBytes } };
}

/** A file of /proc/net whose lines go in pairs, heads and numbers. */
function counter(file: string, group: string, name: string): number {
  const lines = world.netns.exec('cat', [`/proc/net/${file}`]).split('\n');
  const [heads = '', numbers = ''] = lines.filter((line) => line.startsWith(`${group}:`));
  return Number(numbers.split(' ')[heads.split(' ').indexOf(name)]);
}

/** A map of the program on ingress, as bpftool(8) prints it. */
function dump<T>(name: string): T[] {
  const { map_ids } = bpftool<{ map_ids: number[] }>('prog', 'show', 'id', `${world.tcIds()[0]}`);
  const map = map_ids.find((id) => bpftool<{ name: string }>('map', 'show', 'id', `${id}`).name === name);
  return bpftool<T[]>('map', 'dump', 'id', `${map}`);
}

const send = (batches: readonly Batch[], way: Direction = 'ingress', cpu?: number) => {
  const { a, b } = world.veth;
  const [from, to] = way === 'ingress' ? [a, b] : [b, a];
  const rest = cpu === undefined ? {} : { cpu };
  return sendFrames(batches, { netns: world.netns, iface: from.name, receiver: to.name, ...rest });
};

describe.each(VIAS)('by %s', (via) => {
  test('every kind of packet, in and out, by class and by flow, to the byte', async () => {
    // A small table: bpftool(8) prints every place, also those without a flow.
    const classifier = await attach({ via, rules: RULES, maxFlows: 1_024 });
    expect(classifier.links.map((link) => [link.via, link.direction])).toEqual([
      [via, 'egress'],
      [via, 'ingress'],
    ]);
    const start = device(world.iface);
    const all = sum(TRAFFIC);
    const half = TRAFFIC.filter((_, index) => index % 2 === 0);
    expect(await send(TRAFFIC)).toMatchObject({ sent: all.packets, received: all.packets });
    await send(half, 'egress');

    const of = (batches: typeof TRAFFIC, name: string) =>
      sum(batches.filter((batch) => batch.class === name));
    const expected = Object.fromEntries(
      CLASSES.map((name) => [name, { ingress: of(TRAFFIC, name), egress: of(half, name) }]),
    );
    expect(classifier.classes()).toEqual(expected);
    const flows = classifier.flows(Number.POSITIVE_INFINITY);
    expect(counted(flows, 'ingress')).toEqual(byFlow(TRAFFIC));
    expect(counted(flows, 'egress')).toEqual(byFlow(half));
    expect(classifier.flowAccount()).toEqual({ created: flows.length, evicted: 0 });

    // The interface's own counters say the same.
    const end = device(world.iface);
    const passed = (way: 'rx' | 'tx') => ({
      packets: end[way].packets - start[way].packets,
      bytes: end[way].bytes - start[way].bytes,
    });
    expect({ rx: passed('rx'), tx: passed('tx') }).toEqual({ rx: all, tx: sum(half) });

    // As bpftool(8) reads the map, by BTF.
    const sets = dump<{ formatted: { value: { places: Tally[] } } }>('flows');
    const dumped = sets.flatMap(({ formatted }) => formatted.value.places.map(({ bytes }) => bytes));
    expect(dumped.filter((bytes) => bytes > 0).sort()).toEqual(flows.map(({ bytes }) => bytes).sort());
  });

  test.each(['ingress', 'egress'] as const)('%s alone sees nothing of the other way', async (direction) => {
    const classifier = await attach({ via, direction });
    const other = direction === 'ingress' ? 'egress' : 'ingress';
    expect([world.tcIds(direction).length, world.tcIds(other).length]).toEqual([1, 0]);
    await send([{ frame: frames.udp4(), count: 70 }], direction);
    await send([{ frame: frames.udp4(), count: 30 }], other);
    const tally = { packets: 70, bytes: 70 * frames.udp4().length };
    expect(classifier.classes()).toEqual({ other: { [other]: NOTHING, [direction]: tally } });
    expect(classifier.flows()).toEqual([expect.objectContaining({ direction, ...tally })]);
  });

  test('from both CPUs at once, every flow entered by either', async () => {
    const classifier = await attach({ via, rules: RULES });
    const batches = Array.from({ length: 400 }, (_, i) => {
      const frame = frames.udp4();
      frame.set([i >> 8, i & 255], 34); // the source port
      return { frame, count: 5 };
    });
    const rounds = 3;
    for (let round = 0; round < rounds; round++) {
      await Promise.all([send(batches, 'ingress', 0), send(batches, 'ingress', 1)]);
    }
    const each = { packets: 2 * rounds * 5, bytes: 2 * rounds * 5 * frames.udp4().length };
    const total = { packets: 400 * each.packets, bytes: 400 * each.bytes };
    expect(classifier.classes().echo).toEqual({ ingress: total, egress: NOTHING });
    const flows = classifier.flows(Number.POSITIVE_INFINITY);
    expect(flows).toHaveLength(400);
    for (const { packets, bytes } of flows) expect({ packets, bytes }).toEqual(each);
    expect(classifier.flowAccount()).toEqual({ created: 400, evicted: 0 });
    // Each CPU has its own half, by bpftool(8).
    const rows = dump<{ formatted: { key: number; values: { cpu: number; value: Tally }[] } }>('classes');
    const echo = rows.find(({ formatted }) => formatted.key === 2)?.formatted.values ?? [];
    expect(echo.slice(0, 2).map(({ value }) => value.packets)).toEqual(Array(2).fill(total.packets / 2));
  });

  test("others' filters and programs keep their place and see every packet", async () => {
    const check = world.foreignHooks();
    const theirs = world.tcIds();
    const classifier = await attach({ via, direction: 'ingress' });
    const [ours = 0] = world.tcIds().filter((id) => !theirs.includes(id));
    await check(ours, 'attached');
    await check(ours, 'attached');
    expect(classifier.classes().other?.ingress.packets).toBe(200);
    classifier.close();
    await check(ours, 'gone');
  });

  test('marks the packets of a class, for who comes next', async () => {
    const next = world.program('tc_priority');
    using _ = await attach({ via, rules: RULES, mark: { web: 1_048_578, other: 7 } });
    // Of filters without a priority the last one comes first.
    const behind = via === 'clsact' ? { priority: 60_000 } : {};
    using _next = next.attachTc({ ...world.at, direction: 'egress', via, ...behind });
    await send(
      [
        { frame: frames.tcp4(), count: 10 },
        { frame: frames.udp4(), count: 20 },
        { frame: frames.icmp4(), count: 30 },
      ],
      'egress',
    );
    const [map = 0] = bpftool<{ map_ids: number[] }>('prog', 'show', 'id', `${next.id}`).map_ids;
    const rows = bpftool<{ formatted: { key: number; value: number } }[]>('map', 'dump', 'id', `${map}`);
    const packets = Object.fromEntries(rows.map(({ formatted: { key, value } }) => [key, value]));
    expect(packets).toEqual({ 1048578: 10, 0: 20, 7: 30 });
  });

  test('all or nothing, whatever fails', async () => {
    const theirs = world.netns.exec('tc', ['qdisc', 'show']);
    const failures: [Partial<Parameters<typeof TcClassifier.attach>[0]>, object][] = [
      [{ iface: 'v0c' }, { name: 'EbpfAttachError', code: 'ERR_EBPF_NO_INTERFACE' }],
      [{ netns: '/run/netns/not-there' }, { name: 'EbpfAttachError', code: 'ENOENT' }],
      [{ maxFlows: 0xffff_ffff }, { name: 'EbpfLoadError' }],
    ];
    for (const [options, error] of failures) {
      expect(await rejection(TcClassifier.attach({ ...world.at, via, ...options }))).toMatchObject(error);
    }
    world.netns.ip('link', 'set', world.iface, 'down');
    expect(await rejection(TcClassifier.attach({ ...world.at, via }))).toMatchObject({
      code: 'ERR_EBPF_INTERFACE_DOWN',
    });
    expect([world.tcIds(), world.tcIds('egress'), world.netns.exec('tc', ['qdisc', 'show'])]).toEqual([
      [],
      [],
      theirs,
    ]);
  });
});

testWith('tcx')('a second hook that refuses takes the first one back', async () => {
  // A hook holds as many as BPF_MPROG_MAX says, which is 64.
  const fill = () => {
    for (let i = 0; i < 64; i++) world.program('tc_count').attachTc({ ...world.ingress, via: 'tcx' });
  };
  expect(caught(fill)).toMatchObject({ code: 'ERANGE' });
  const full = world.tcIds();
  expect(full.length).toBeGreaterThan(60);
  expect(await rejection(TcClassifier.attach({ ...world.at, via: 'tcx' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERANGE',
  });
  expect([world.tcIds(), world.tcIds('egress')]).toEqual([full, []]);
});

test("an ingress qdisc in clsact's place has no egress: nothing is attached", async () => {
  world.netns.exec('tc', ['qdisc', 'add', 'dev', world.iface, 'ingress']);
  const at = { ...world.at, via: 'clsact' as const };
  expect(await rejection(TcClassifier.attach(at))).toMatchObject({ code: 'EEXIST' });
  expect(world.filters()).toEqual([]);
  const classifier = await attach({ ...at, direction: 'ingress' });
  await send([{ frame: frames.udp4(), count: 5 }]);
  expect(classifier.classes().other?.ingress.packets).toBe(5);
});

test('the qdisc that it made goes with it where that is asked for', async () => {
  const classifier = await attach({ via: 'clsact', removeQdisc: true });
  expect(world.qdisc()).toBe('clsact');
  classifier.close();
  classifier.close();
  expect(world.qdisc()).toBeUndefined();
});

const REFUSED = [
  [{ direction: 'sideways' }, TypeError, /ingress, egress or both for direction but received sideways/],
  [{ via: 'netlink' }, TypeError, /auto, tcx or clsact for via/],
  [{ rules: {} }, TypeError, /an array for rules/],
  [{ rules: [7] }, TypeError, /for rules\[0\] but received 7/],
  [{ rules: [{ protocol: 'icmp', port: 1, class: 'a' }] }, TypeError, /tcp or udp for rules\[0\].protocol/],
  [{ rules: [{ protocol: 'tcp', port: 0, class: 'a' }] }, RangeError, /1 to 65535 for rules\[0\].port/],
  [
    { rules: [{ protocol: 'tcp', port: 65_536, class: 'a' }] },
    RangeError,
    /rules\[0\].port but received 65536/,
  ],
  [{ rules: [{ protocol: 'tcp', port: '80', class: 'a' }] }, RangeError, /rules\[0\].port but received 80/],
  [{ rules: [{ protocol: 'tcp', port: 80, class: '' }] }, TypeError, /for rules\[0\].class/],
  [{ rules: [{ protocol: 'tcp', port: 80, class: 'a\u001b[2J' }] }, TypeError, /for rules\[0\].class/],
  [{ rules: [{ protocol: 'tcp', port: 80, class: 'other' }] }, RangeError, /another name than other/],
  [
    { rules: [...(RULES ?? []), { protocol: 'tcp', port: 80, class: 'b' }] },
    RangeError,
    /rules\[1\] and rules\[3\]/,
  ],
  [{ rules: manyClasses(256) }, RangeError, /at most 255 classes in rules but received 256/],
  [{ mark: { web: 1 } }, RangeError, /a class \(other\) in mark but received web/],
  [{ mark: { other: -1 } }, RangeError, /4294967295 for mark.other but received -1/],
  [{ maxFlows: 0 }, RangeError, /for maxFlows but received 0/],
  [{ maxFlows: 1.5 }, RangeError, /for maxFlows/],
] as const;

test.each(REFUSED.map(([options, type, message]) => ({ options, type, message })))(
  'options that are refused, and nothing attached: $message',
  async ({ options, type, message }) => {
    const error = await rejection(TcClassifier.attach({ ...world.at, ...(options as TcClassifierOptions) }));
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect([world.tcIds(), world.tcIds('egress'), world.qdisc()]).toEqual([[], [], undefined]);
  },
);

function manyClasses(count: number): NonNullable<TcClassifierOptions['rules']> {
  return Array.from({ length: count }, (_, i) => ({ protocol: 'udp', port: 1000 + i, class: `c${i}` }));
}

test('the most classes that there can be, each with its own packets; a closed classifier', async () => {
  const classifier = await attach({ rules: manyClasses(255) });
  expect(classifier.classNames).toHaveLength(256);
  const to = (port: number) => {
    const frame = frames.udp4();
    frame.set([port >> 8, port & 255], 36);
    return frame;
  };
  await send([1000, 1127, 1254, 1255].map((port, i) => ({ frame: to(port), count: 1 + i })));
  const classes = classifier.classes();
  const packets = (name: string) => classes[name]?.ingress.packets;
  expect(['c0', 'c127', 'c254', 'other'].map(packets)).toEqual([1, 2, 3, 4]);
  const total = Object.values(classes).reduce((all, { ingress }) => all + ingress.packets, 0);
  expect(total).toBe(10);
  expect(() => classifier.flows(-1)).toThrow(RangeError);
  expect(() => classifier.flows(1.5)).toThrow(RangeError);
  expect(classifier.flows(0)).toEqual([]);
  const top = classifier.flows(2).map(({ packets }) => packets);
  expect(top).toEqual([4, 3]);
  classifier.close();
  expect(() => classifier.classes()).toThrow(expect.objectContaining({ name: 'EbpfStateError' }));
  expect(() => classifier.flows()).toThrow(expect.objectContaining({ name: 'EbpfStateError' }));
});

test('the port that a packet goes to decides, then the one that it comes from; the protocol counts', async () => {
  const classifier = await attach({
    rules: [
      { protocol: 'udp', port: 7, class: 'to' },
      { protocol: 'udp', port: 40_000, class: 'from' },
      { protocol: 'tcp', port: 53, class: 'tcp' },
    ],
  });
  const datagram = (from: number, to: number) => {
    const frame = frames.udp4();
    frame.set([from >> 8, from & 255, to >> 8, to & 255], 34);
    return frame;
  };
  await send([
    { frame: datagram(40_000, 7), count: 1 },
    { frame: datagram(7, 40_000), count: 2 },
    { frame: datagram(7, 50_000), count: 4 },
    { frame: datagram(50_000, 40_000), count: 8 },
    { frame: datagram(50_000, 53), count: 16 },
    { frame: datagram(0, 0), count: 32 },
  ]);
  const classes = classifier.classes();
  expect(Object.entries(classes).map(([name, { ingress }]) => [name, ingress.packets])).toEqual([
    ['other', 16 + 32],
    ['to', 1 + 4],
    ['from', 2 + 8],
    ['tcp', 0],
  ]);
});

test('more flows than there is room for: classes stay exact, the oldest flows go', async () => {
  const classifier = await attach({ maxFlows: 300 });
  const frame = (i: number) => {
    const made = frames.udp4();
    made.set([i >> 8, i & 255], 34);
    return made;
  };
  const batches = Array.from({ length: 2_000 }, (_, i) => ({ frame: frame(i), count: 2 }));
  await send(batches, 'ingress', 0);
  expect(classifier.classes().other?.ingress).toEqual(sum(batches));
  const flows = classifier.flows(Number.POSITIVE_INFINITY);
  expect(classifier.maxFlows).toBe(304);
  // 300, in whole sets. Of every set so many flows came that it is full.
  expect(flows).toHaveLength(304);
  expect(classifier.flowAccount()).toEqual({ created: 2_000, evicted: 2_000 - 304 });
  // Both packets of a flow come together: what is there is whole, and the last one is.
  expect(new Set(flows.map(({ packets }) => packets))).toEqual(new Set([2]));
  expect(flows.map(({ sourcePort }) => sourcePort)).toContain(1_999);
  expect(Math.min(...flows.map(({ sourcePort }) => sourcePort))).toBeGreaterThan(1_000);
});

describe('segments on lo', () => {
  const SCRIPT = fileURLToPath(new URL('../../helpers/segments.py', import.meta.url));
  const run = <T>(...args: (string | number)[]): T =>
    JSON.parse(world.netns.exec(PYTHON, ['-S', '-E', SCRIPT, ...args.map(String)])) as T;
  beforeEach(() => {
    world.netns.ip('link', 'set', 'lo', 'mtu', '1500', 'up');
    for (const name of ['tcp_timestamps', 'tcp_sack'])
      world.netns.exec('sysctl', ['-qw', `net.ipv4.${name}=0`]);
  });

  test('UDP: each datagram counts, with its own headers', async () => {
    const classifier = await attach({ iface: 'lo' });
    const { datagrams, bytes } = run<{ datagrams: number; bytes: number }>('udp', 50, 10_500, 1_000);
    expect([datagrams, bytes]).toEqual([50 * 11, 50 * 10_500]);
    const tally = { packets: datagrams, bytes: bytes + 42 * datagrams };
    expect(classifier.classes().other).toEqual({ ingress: tally, egress: tally });
    expect(counter('snmp', 'Udp', 'InDatagrams')).toBe(datagrams);
    // The interface itself has seen one packet for each send; an older one has the stack cut them before.
    if (kernelIsAtLeast('6.12')) expect(device('lo').rx.packets).toBe(50);
    const flows = classifier.flows().map(({ direction, packets }) => [direction, packets]);
    expect(Object.fromEntries(flows)).toEqual({ ingress: datagrams, egress: datagrams });
  });

  test('TCP: as many segments as the stack says it sent and received', async () => {
    const classifier = await attach({ iface: 'lo' });
    const read = () => ({
      sent: counter('snmp', 'Tcp', 'OutSegs') + counter('snmp', 'Tcp', 'RetransSegs'),
      received: counter('netstat', 'IpExt', 'InNoECTPkts'),
      again: counter('snmp', 'Tcp', 'RetransSegs'),
      devices: device('lo').tx.packets,
      ...classifier.classes().other,
    });
    await until(
      async () => {
        const old = read();
        const { bytes } = run<{ bytes: number }>('tcp', 3_000_000);
        // The last acknowledgement may still be on its way.
        const now = await until(() => {
          const one = read();
          return one.ingress?.packets === one.egress?.packets && one;
        });
        const packets = now.sent - old.sent;
        expect(packets).toBeGreaterThan(bytes / 1_460);
        expect((now.egress?.packets ?? 0) - (old.egress?.packets ?? 0)).toBe(packets);
        expect((now.ingress?.packets ?? 0) - (old.ingress?.packets ?? 0)).toBe(now.received - old.received);
        // Segments did travel as one: or this would prove nothing.
        expect(now.devices - old.devices).toBeLessThan(packets);
        // What was sent twice has bytes that nobody can know from outside.
        if (now.again !== old.again) return false;
        const options = 2 * 8; // of both SYNs: the size of segments, the scale of windows
        expect((now.egress?.bytes ?? 0) - (old.egress?.bytes ?? 0)).toBe(bytes + 54 * packets + options);
        return true;
      },
      undefined,
      30_000,
    );
  });
});

test('an interface without a link layer', async () => {
  world.netns.ip('tuntap', 'add', 'mode', 'tun', 'tun9');
  world.netns.ip('link', 'set', 'tun9', 'up');
  const classifier = await attach({ iface: 'tun9', rules: RULES });
  const packets = [frames.ipv4(17, frames.udp(4)), frames.ipv6(6, frames.tcp(6))];
  const script = `
import fcntl, os, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH', b'tun9', 0x1001))
for line in sys.stdin:
    for _ in range(20): os.write(tun, bytes.fromhex(line))
`;
  const lines = packets.map((packet) => Buffer.from(packet).toString('hex')).join('\n');
  world.netns.exec(PYTHON, ['-S', '-E', '-c', script], lines);
  const tally = (packet?: Uint8Array) => ({ packets: 20, bytes: 20 * (packet?.length ?? 0) });
  await until(() => device('tun9').rx.packets >= 40);
  await until(() => (classifier.classes().web?.ingress.packets ?? 0) >= 20).catch(() => undefined);
  expect(classifier.classes()).toMatchObject({
    echo: { ingress: tally(packets[0]) },
    web: { ingress: tally(packets[1]) },
    other: { ingress: NOTHING },
  });
});
