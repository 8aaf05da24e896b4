import type { TcDirection } from '../attach/tc.ts';
import { LITTLE_ENDIAN } from '../core/endian.ts';
import { addressWords } from './address.ts';

/** Packets of one 5-tuple in one direction. An answer is a flow of its own, with the two sides exchanged. */
export interface Flow {
  /** Whether the interface received or sent them. */
  direction: TcDirection;
  /** `tcp`, `udp`, `icmp`, `icmpv6`, … or the protocol's number: `89`. */
  protocol: string;
  /** IPv6 as RFC 5952 writes it. */
  source: string;
  /** 0 where the protocol has no ports, and for fragments but the first. */
  sourcePort: number;
  /** As `source`. */
  destination: string;
  /** As `sourcePort`. */
  destinationPort: number;
  /** Those of the wire, since the flow was entered. Exact up to 2^53. */
  packets: number;
  /** From the Ethernet header on; of an interface without one, from IP's. */
  bytes: number;
  /** When the first packet came: nanoseconds of the kernel's monotonic clock, that of process.hrtime(). */
  firstNs: number;
  /** When the last one came, or up to a tick of the kernel's (1 to 10 ms) before. */
  lastNs: number;
}

// struct flow of tc_classifier.h.
const SOURCE = 0;
const DESTINATION = 16;
const SOURCE_PORT = 32;
const DESTINATION_PORT = 34;
const PROTOCOL = 36;
const VERSION = 37;
const DIRECTION = 38;
const PACKETS = 40;
const BYTES = 48;
const FIRST_NS = 56;
const LAST_NS = 64;
export const FLOW_SIZE = 72;

const DIRECTIONS: readonly TcDirection[] = ['ingress', 'egress'];

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  4: 'ipip',
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  41: 'ipv6',
  47: 'gre',
  50: 'esp',
  51: 'ah',
  58: 'icmpv6',
  103: 'pim',
  112: 'vrrp',
  132: 'sctp',
  136: 'udplite',
};

/** The flow at `at`, a struct flow. */
export function flowAt(view: DataView, at: number): Flow {
  const protocol = view.getUint8(at + PROTOCOL);
  const version = view.getUint8(at + VERSION);
  return {
    direction: DIRECTIONS[view.getUint8(at + DIRECTION)] ?? 'ingress',
    protocol: PROTOCOLS[protocol] ?? String(protocol),
    source: addressWords(view, at + SOURCE, version),
    sourcePort: view.getUint16(at + SOURCE_PORT),
    destination: addressWords(view, at + DESTINATION, version),
    destinationPort: view.getUint16(at + DESTINATION_PORT),
    packets: numberAt(view, at + PACKETS),
    bytes: bytesAt(view, at),
    firstNs: numberAt(view, at + FIRST_NS),
    lastNs: numberAt(view, at + LAST_NS),
  };
}

/** Whether the struct flow at `at` is one. */
export function hasFlow(values: Uint8Array, at: number): boolean {
  return values[at + VERSION] !== 0;
}

export function bytesAt(view: DataView, at: number): number {
  return numberAt(view, at + BYTES);
}

function numberAt(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, LITTLE_ENDIAN));
}
