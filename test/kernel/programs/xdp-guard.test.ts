import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { guardAgainst } from '../../../lib/control/action.ts';
import { ControlLoop } from '../../../lib/control/control-loop.ts';
import { BpfMap } from '../../../lib/map/map.ts';
import { loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { XdpCounter } from '../../../lib/programs/xdp-counter.ts';
import { XdpGuard } from '../../../lib/programs/xdp-guard.ts';
import { rejection } from '../../helpers/caught.ts';
import { testWith } from '../../helpers/features.ts';
import * as frames from '../../helpers/frames.ts';
import { heldIds } from '../../helpers/held.ts';
import { assertNothingLeft, bpftool, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { shippedObject } from '../../helpers/objects.ts';
import { PYTHON } from '../../helpers/send.ts';
import { until } from '../../helpers/until.ts';
import { World } from '../../helpers/world.ts';

const [XDP_DROP, XDP_PASS] = [1, 2];
const IPV4_SOURCE = 12;
const IPV6_SOURCE = 8;
const ETHERNET = 14;
const TAG = 4;

let before: Snapshot;
let world: World;
beforeAll(() => {
  before = snapshotIds(['xdp_guard', 'guard_totals', 'guard_rules', 'guard_counts', 'guard_prefixes']);
});
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());
afterAll(() => assertNothingLeft(before));

/** A frame from that source, behind so many tags. */
function from(source: string, tags: 0 | 1 | 2 = 0): Uint8Array {
  const options = [{}, { tags: frames.SINGLE_TAG }, { tags: frames.QINQ }][tags] ?? {};
  const v6 = source.includes(':');
  const frame = v6 ? frames.udp6(frames.bytes(20), options) : frames.udp4(frames.bytes(20), options);
  const bytes = v6
    ? execFileSync(
        PYTHON,
        ['-c', `import socket,sys; print(socket.inet_pton(socket.AF_INET6, sys.argv[1]).hex())`, source],
        { encoding: 'utf8' },
      )
    : Buffer.from(source.split('.').map(Number)).toString('hex');
  frame.set(Buffer.from(bytes.trim(), 'hex'), ETHERNET + TAG * tags + (v6 ? IPV6_SOURCE : IPV4_SOURCE));
  return frame;
}

describe('XdpGuard', () => {
  /** What the attached program says of a frame, by a test run of that very program. */
  const verdict = async (guard: XdpGuard, frame: Uint8Array, repeat = 1): Promise<number> => {
    const { programId = 0 } = xdpOf(world.netns, world.iface);
    expect(guard.link.state()).toBe('attached');
    using program = BpfProgram.fromId(programId);
    return program.run({ data: frame, repeat }).retval;
  };

  it('drops what comes from a blocked prefix, IPv4 and IPv6, behind up to two tags, and nothing else', async () => {
    using guard = await XdpGuard.attach(world.at);
    expect(guard.block('203.0.113.7/24')).toBe('203.0.113.0/24');
    guard.block('2001:db8::/32');
    for (const tags of [0, 1, 2] as const) {
      expect(await verdict(guard, from('203.0.113.255', tags))).toBe(XDP_DROP);
      expect(await verdict(guard, from('2001:db8:1::2', tags))).toBe(XDP_DROP);
      expect(await verdict(guard, from('203.0.112.255', tags))).toBe(XDP_PASS);
      expect(await verdict(guard, from('2001:db9::2', tags))).toBe(XDP_PASS);
    }
    expect(await verdict(guard, frames.ethernet(frames.EtherType.ARP, frames.arp()))).toBe(XDP_PASS);
    const size = from('203.0.113.1').length;
    expect(guard.rules()).toMatchObject([
      {
        prefix: '203.0.113.0/24',
        dropped: { packets: 3, bytes: 3 * size + 3 * TAG },
        passed: { packets: 0 },
      },
      { prefix: '2001:db8::/32', dropped: { packets: 3 }, passed: { packets: 0 } },
    ]);
    expect(guard.totals()).toMatchObject({ dropped: { packets: 6 }, passed: { packets: 7 } });
    expect(guard.lift('203.0.113.0/24')).toBe(true);
    expect(guard.lift('203.0.113.0/24')).toBe(false);
    expect(await verdict(guard, from('203.0.113.1'))).toBe(XDP_PASS);
  });

  it('lets the longest prefix decide, and cuts off nothing at any length of a frame', async () => {
    using guard = await XdpGuard.attach(world.at);
    guard.block('10.0.0.0/8');
    guard.limit('10.1.0.0/16', { packetsPerSecond: 1e-3, burst: 1000 });
    expect(await verdict(guard, from('10.2.0.1'))).toBe(XDP_DROP);
    expect(await verdict(guard, from('10.1.0.1'))).toBe(XDP_PASS);
    const whole = from('10.2.0.1', 2);
    const enough = ETHERNET + 2 * TAG + 20;
    for (let length = ETHERNET; length <= whole.length; length++) {
      expect(await verdict(guard, whole.subarray(0, length)), `${length} bytes`).toBe(
        length < enough ? XDP_PASS : XDP_DROP,
      );
    }
  });

  it('lets a burst through, and then no more than the rate', async () => {
    using guard = await XdpGuard.attach(world.at);
    guard.limit('10.0.0.0/8', { packetsPerSecond: 0.001, burst: 5 });
    for (let i = 0; i < 5; i++) expect(await verdict(guard, from('10.0.0.1'))).toBe(XDP_PASS);
    for (let i = 0; i < 3; i++) expect(await verdict(guard, from('10.9.9.9'))).toBe(XDP_DROP);
    expect(guard.rules()).toMatchObject([
      { passed: { packets: 5 }, dropped: { packets: 3 }, limit: { burst: 5 } },
    ]);
    // Over time: tokens come back at the rate, whatever the time is that this takes.
    guard.limit('10.0.0.0/8', { packetsPerSecond: 1000 });
    const start = process.hrtime.bigint();
    await verdict(guard, from('10.0.0.1'), 1_000_000);
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    const [{ passed, dropped } = expect.unreachable()] = guard.rules();
    expect(passed.packets + dropped.packets).toBe(1_000_000);
    expect(passed.packets).toBeGreaterThan(0);
    expect(passed.packets).toBeLessThanOrEqual(1000 * seconds + 1);
    // Changed to a block: counted from then on.
    guard.block('10.0.0.0/8');
    expect(await verdict(guard, from('10.0.0.1'))).toBe(XDP_DROP);
    expect(guard.rules()).toMatchObject([{ passed: { packets: 0 }, dropped: { packets: 1 } }]);
  });

  it('refuses what is no rule, and more rules than there is room for', async () => {
    using guard = await XdpGuard.attach(world.at);
    for (const prefix of ['', '10.0.0.0/33', 'x', 7])
      expect(() => guard.block(prefix as string)).toThrow(TypeError);
    for (const packetsPerSecond of [0, -1, Number.NaN, 1e10]) {
      expect(() => guard.limit('10.0.0.0/8', { packetsPerSecond })).toThrow(RangeError);
    }
    for (const burst of [0, 1.5, 2 ** 33]) {
      expect(() => guard.limit('10.0.0.0/8', { packetsPerSecond: 1, burst })).toThrow(RangeError);
    }
    expect(guard.rules()).toEqual([]);
    for (let i = 0; i < 1024; i++) guard.block(`10.${i >> 8}.${i & 255}.0/24`);
    expect(() => guard.block('11.0.0.0/8')).toThrow(expect.objectContaining({ code: 'ERR_EBPF_FULL' }));
    guard.block('10.0.0.0/24'); // one that is there may be changed
    guard.lift('10.0.0.0/24');
    guard.block('11.0.0.0/8');
    expect(guard.rules()).toHaveLength(1024);
    using map = BpfMap.fromId(
      heldIds('map').find(
        (id) => bpftool<{ name?: string }>('map', 'show', 'id', String(id)).name === 'guard_prefixes',
      ) ?? 0,
    );
    expect(map.countKeys()).toBe(1024);
  });

  it('takes nobody’s place, and leaves nothing', async () => {
    using counter = await XdpCounter.attach(world.at);
    const error = await rejection(XdpGuard.attach(world.at));
    expect(error).toMatchObject({
      name: 'EbpfAttachError',
      code: 'EBUSY',
      holder: { linkId: counter.link.id },
    });
    counter.close();
    (await XdpGuard.attach(world.at)).close();
    expect(xdpOf(world.netns, world.iface)).toEqual({});
  });
});

testWith('verified instructions')('costs the verifier no more than it did', async () => {
  using object = await loadObject(shippedObject('xdp_guard'));
  const { verifiedInstructions } = object.program('xdp_guard').stats();
  expect(verifiedInstructions).toBeGreaterThan(0);
  expect(verifiedInstructions).toBeLessThan(2_000);
});

it('a loop finds a flood, stops it while others’ traffic flows, and lifts that when it is over: once', {
  timeout: 60_000,
}, async () => {
  const FLOOD = fileURLToPath(new URL('../../helpers/flood_two.py', import.meta.url));
  const hex = (source: string) => Buffer.from(from(source)).toString('hex');
  using guard = await XdpGuard.attach(world.at);
  using loop = new ControlLoop({
    sources: {
      guard() {
        const { passed, dropped } = guard.totals();
        return { packets: passed.packets + dropped.packets };
      },
    },
    rules: [
      {
        name: 'flood',
        signal: 'guard.packets',
        rate: true,
        above: 1500,
        clearAt: 700,
        forMs: 200,
        cooldownMs: 1500,
        actions: [guardAgainst(guard, ['10.66.0.0/16'])],
      },
    ],
    dryRun: false,
    intervalMs: 100,
  });
  loop.start();
  const command = [...world.inside.slice(1), PYTHON, FLOOD, world.veth.a.name, world.veth.b.name];
  const { stdout } = await promisify(execFile)('ip', [
    ...command,
    hex('10.66.1.2'),
    hex('10.0.0.1'),
    '3',
    '4',
  ]);
  await until(() => loop.raised().length === 0 && loop.decisions().length > 0, undefined, 20_000);
  loop.stop();
  const { attacker, friend } = JSON.parse(stdout) as Record<
    'attacker' | 'friend',
    { sent: number; received: number }
  >;
  // All of the friend's arrived, and of the attacker's all that the guard did not drop.
  expect(friend.received).toBe(friend.sent);
  const { passed, dropped } = guard.totals();
  expect(dropped.packets).toBeGreaterThan(0);
  expect(attacker.received).toBe(attacker.sent - dropped.packets);
  expect(passed.packets + dropped.packets).toBe(attacker.sent + friend.sent);
  expect(loop.decisions()).toMatchObject([
    { verdict: 'raise', rule: 'flood', dryRun: false, actions: [{ outcome: 'verified' }] },
    { verdict: 'clear', rule: 'flood', actions: [{ outcome: 'lifted' }] },
  ]);
  expect(loop.errors()).toEqual({});
  expect(guard.rules()).toEqual([]);
});
