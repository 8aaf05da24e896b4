import { endianness } from 'node:os';
import type { BpfObject } from '../../lib/object/object.ts';

// struct flow_set, struct flow and flow_seeds, as bpf/tc_flows.bpf.h has them without being told others.
const PLACES = 16;
const FIRST_PLACE = 8;
const FLOW_SIZE = 72;
const KEY_SIZE = 40;
const VERSION = 37;
const DIRECTION = 38;
const SEEDS = [
  0x9e3779b97f4a7c15n,
  0xbf58476d1ce4e5b9n,
  0x94d049bb133111ebn,
  0xd6e8feb86659fd93n,
  0xff51afd7ed558ccdn,
];
const LITTLE = endianness() === 'LE';

export interface FlowNumbers {
  packets: number;
  bytes: number;
  firstNs: number;
  lastNs: number;
  /** Of its set's places, the one that it has. */
  place: number;
}

/** Of the flow with this struct flow_key, in the set that is its own. */
export function flowIn(object: BpfObject, key: Uint8Array): FlowNumbers | undefined {
  const map = object.map('flows');
  const set = map.get(Number((hashOf(key) * BigInt(map.maxEntries)) >> 32n));
  return set && flowsOf(set).find((flow) => Buffer.compare(flow.key, key) === 0);
}

/** Where a flow is unless another has the place. */
export function homeOf(key: Uint8Array): number {
  return (Number(hashOf(key) << 1n) + (key[DIRECTION] ?? 0)) % PLACES;
}

export function allFlows(object: BpfObject): { rows: number; packets: number } {
  let [rows, packets] = [0, 0];
  for (const [, set] of object.map('flows').entries()) {
    for (const flow of flowsOf(set)) {
      rows++;
      packets += flow.packets;
    }
  }
  return { rows, packets };
}

function flowsOf(set: Uint8Array): (FlowNumbers & { key: Uint8Array })[] {
  return Array.from({ length: PLACES }, (_, place) => {
    const flow = set.subarray(FIRST_PLACE + place * FLOW_SIZE, FIRST_PLACE + (place + 1) * FLOW_SIZE);
    const view = new DataView(flow.buffer, flow.byteOffset + KEY_SIZE);
    const [packets = 0, bytes = 0, firstNs = 0, lastNs = 0] = [0, 8, 16, 24].map((at) =>
      Number(view.getBigUint64(at, LITTLE)),
    );
    return { key: flow.subarray(0, KEY_SIZE), packets, bytes, firstNs, lastNs, place };
  }).filter(({ key }) => key[VERSION] !== 0);
}

/** Without the direction. */
function hashOf(key: Uint8Array): bigint {
  const copy = key.slice();
  copy[DIRECTION] = 0;
  const view = new DataView(copy.buffer);
  const sum = SEEDS.reduce((total, seed, i) => {
    const word = view.getBigUint64(8 * i, LITTLE);
    return total + (word ^ (word >> 32n)) * seed;
  }, 0n);
  const mixed = BigInt.asUintN(64, sum);
  return BigInt.asUintN(64, (mixed ^ (mixed >> 32n)) * (SEEDS[0] ?? 0n)) >> 32n;
}
