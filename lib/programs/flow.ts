import type { TcDirection } from '../tc.ts';
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
  /** When the last one came, to within a tick of the kernel's (1 to 10 ms). */
  lastNs: number;
}

// struct flow_key of tc_classifier.h.
const SOURCE = 0;
const DESTINATION = 16;
const SOURCE_PORT = 32;
const DESTINATION_PORT = 34;
const PROTOCOL = 36;
const VERSION = 37;
const DIRECTION = 38;
const DIRECTIONS: readonly TcDirection[] = ['ingress', 'egress'];

const PROTOCOLS: Readonly<Record<number, string>> = {
  ...{ 1: 'icmp', 2: 'igmp', 4: 'ipip', 6: 'tcp', 17: 'udp', 33: 'dccp', 41: 'ipv6', 47: 'gre', 50: 'esp' },
  ...{ 51: 'ah', 58: 'icmpv6', 103: 'pim', 112: 'vrrp', 132: 'sctp', 136: 'udplite' },
};

/** The flow of a row of the map `flows`; `numbers` are packets, bytes, first_ns, last_ns. */
export function flowOf(key: Uint8Array, numbers: Float64Array): Flow {
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  const protocol = view.getUint8(PROTOCOL);
  const version = view.getUint8(VERSION);
  const [packets = 0, bytes = 0, firstNs = 0, lastNs = 0] = numbers;
  return {
    direction: DIRECTIONS[view.getUint8(DIRECTION)] ?? 'ingress',
    protocol: PROTOCOLS[protocol] ?? String(protocol),
    source: addressWords(view, SOURCE, version),
    sourcePort: view.getUint16(SOURCE_PORT),
    destination: addressWords(view, DESTINATION, version),
    destinationPort: view.getUint16(DESTINATION_PORT),
    ...{ packets, bytes, firstNs, lastNs },
  };
}
