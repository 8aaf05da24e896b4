// Raw Ethernet frames, layer by layer: each builder returns its header and its payload as one array.

export type Frame = Uint8Array;

/**
 * Addresses of nobody: the stack drops a frame for a foreign station before it can answer, so no reply
 * disturbs a count.
 */
export const STATION_A = '02:00:00:00:00:0a';
export const STATION_B = '02:00:00:00:00:0b';

export const EtherType = {
  IPV4: 0x0800,
  ARP: 0x0806,
  VLAN: 0x8100,
  IPV6: 0x86dd,
  LLDP: 0x88cc,
  QINQ: 0x88a8,
  QINQ_OLD: 0x9100,
} as const;

export const Protocol = {
  HOP_BY_HOP: 0,
  ICMP: 1,
  IPV4: 4,
  TCP: 6,
  UDP: 17,
  IPV6: 41,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  NONE: 59,
  DESTINATION: 60,
  SCTP: 132,
  MOBILITY: 135,
  UDPLITE: 136,
  HIP: 139,
  SHIM6: 140,
} as const;

export function bytes(length: number, fill: (index: number) => number = (index) => index): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => fill(index) & 0xff);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function mac(address: string): Uint8Array {
  return Uint8Array.from(address.split(':'), (octet) => Number.parseInt(octet, 16));
}

/** RFC 1071: the ones' complement of the ones' complement sum. */
export function checksum(...parts: readonly Uint8Array[]): number {
  const data = concat(...parts);
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function put16(data: Uint8Array, at: number, value: number): void {
  data[at] = value >> 8;
  data[at + 1] = value & 0xff;
}

// ── Ethernet ──

export interface Tag {
  /** The tag protocol identifier: 0x8100, 0x88a8 or 0x9100. */
  readonly type: number;
  readonly id: number;
  readonly priority?: number;
}

export interface EthernetOptions {
  readonly source?: string;
  readonly destination?: string;
  readonly tags?: readonly Tag[];
}

/** `type` below 0x600 is an 802.3 length. */
export function ethernet(type: number, payload: Uint8Array, options: EthernetOptions = {}): Frame {
  const tags = (options.tags ?? []).map((tag) =>
    concat(u16(tag.type), u16(((tag.priority ?? 0) << 13) | tag.id)),
  );
  return concat(
    mac(options.destination ?? STATION_B),
    mac(options.source ?? STATION_A),
    ...tags,
    u16(type),
    payload,
  );
}

export const SINGLE_TAG: readonly Tag[] = [{ type: EtherType.VLAN, id: 100, priority: 3 }];
export const QINQ: readonly Tag[] = [
  { type: EtherType.QINQ, id: 200 },
  { type: EtherType.VLAN, id: 100 },
];

export function arp(): Uint8Array {
  const hardware = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1);
  return concat(hardware, mac(STATION_A), IPV4_A, new Uint8Array(6), IPV4_B);
}

/**
 * An 802.3 frame: the length where Ethernet II has the type, then an LLC header (by default a spanning tree
 * BPDU's).
 */
export function llc(
  payload: Uint8Array = bytes(35),
  header: Uint8Array = Uint8Array.of(0x42, 0x42, 0x03),
): Frame {
  return ethernet(header.length + payload.length, concat(header, payload));
}

// ── IP ──

export const IPV4_A = Uint8Array.of(192, 0, 2, 1);
export const IPV4_B = Uint8Array.of(192, 0, 2, 2);
export const IPV6_A = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a);
export const IPV6_B = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b);

export interface IPv4Options {
  /**
   * The header length field, 0–15. From 6 up, options of that size are there; below 5 the field lies and 20
   * bytes are there.
   */
  readonly ihl?: number;
  readonly version?: number;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
}

export function ipv4(protocol: number, payload: Uint8Array, options: IPv4Options = {}): Uint8Array {
  const ihl = options.ihl ?? 5;
  const header = new Uint8Array(Math.max(ihl, 5) * 4).fill(1, 20); // 1: the no-operation option
  header[0] = ((options.version ?? 4) << 4) | ihl;
  put16(header, 2, header.length + payload.length);
  put16(header, 4, 0x4e45);
  put16(header, 6, (options.moreFragments ? 0x2000 : 0) | ((options.fragmentOffset ?? 0) / 8));
  header[8] = 64;
  header[9] = protocol;
  header.set(IPV4_A, 12);
  header.set(IPV4_B, 16);
  put16(header, 10, checksum(header));
  return concat(header, payload);
}

export type Extension =
  | {
      readonly kind: 'hop-by-hop' | 'routing' | 'destination' | 'mobility' | 'hip' | 'shim6';
      readonly length?: number;
    }
  | { readonly kind: 'ah'; readonly length?: number }
  | { readonly kind: 'fragment'; readonly offset?: number; readonly moreFragments?: boolean };

const EXTENSION_NUMBER: Record<Extension['kind'], number> = {
  'hop-by-hop': Protocol.HOP_BY_HOP,
  routing: Protocol.ROUTING,
  destination: Protocol.DESTINATION,
  fragment: Protocol.FRAGMENT,
  ah: Protocol.AH,
  mobility: Protocol.MOBILITY,
  hip: Protocol.HIP,
  shim6: Protocol.SHIM6,
};

/**
 * One extension header with its length in bytes: a multiple of 8, of 4 for AH, whose unit is different (RFC
 * 4302, 2.2).
 */
function extension(ext: Extension, next: number): Uint8Array {
  if (ext.kind === 'fragment') {
    // The upper 13 bits are the offset in units of 8: together with the zeros below, the offset in bytes.
    const field = (ext.offset ?? 0) | (ext.moreFragments ? 1 : 0);
    return concat(Uint8Array.of(next, 0), u16(field), Uint8Array.of(0, 0, 0x4e, 0x45));
  }
  const length = ext.length ?? (ext.kind === 'ah' ? 24 : 8);
  const data = new Uint8Array(length);
  data[0] = next;
  data[1] = ext.kind === 'ah' ? length / 4 - 2 : length / 8 - 1;
  if (ext.kind === 'hop-by-hop' || ext.kind === 'destination') {
    let at = 2; // PadN options (RFC 8200, 4.2)
    while (at < length) {
      const size = Math.min(length - at, 257);
      if (size === 1) break; // a zero is Pad1
      data[at] = 1;
      data[at + 1] = size - 2;
      at += size;
    }
  }
  return data;
}

export interface IPv6Options {
  readonly version?: number;
  readonly extensions?: readonly Extension[];
}

export function ipv6(next: number, payload: Uint8Array, options: IPv6Options = {}): Uint8Array {
  const chain = options.extensions ?? [];
  const numbers = [...chain.map(({ kind }) => EXTENSION_NUMBER[kind]), next];
  const extensions = chain.map((ext, index) => extension(ext, numbers[index + 1] ?? next));
  const rest = concat(...extensions, payload);
  const header = new Uint8Array(40);
  header[0] = (options.version ?? 6) << 4;
  put16(header, 4, rest.length);
  header[6] = numbers[0] ?? next;
  header[7] = 64;
  header.set(IPV6_A, 8);
  header.set(IPV6_B, 24);
  return concat(header, rest);
}

// ── what IP carries, with checksums over the pseudo header of the addresses above ──

export type Version = 4 | 6;

function pseudo(version: Version, protocol: number, length: number): Uint8Array {
  return version === 4
    ? concat(IPV4_A, IPV4_B, Uint8Array.of(0, protocol), u16(length))
    : concat(IPV6_A, IPV6_B, Uint8Array.of(0, 0), u16(length), Uint8Array.of(0, 0, 0, protocol));
}

export function udp(version: Version, payload: Uint8Array = bytes(18)): Uint8Array {
  const data = concat(u16(40000), u16(7), u16(8 + payload.length), u16(0), payload);
  put16(data, 6, checksum(pseudo(version, Protocol.UDP, data.length), data) || 0xffff);
  return data;
}

export function tcp(version: Version, payload: Uint8Array = new Uint8Array()): Uint8Array {
  const numbers = Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2);
  const data = concat(
    u16(40000),
    u16(80),
    numbers,
    Uint8Array.of(0x50, 0x18),
    u16(1024),
    u16(0),
    u16(0),
    payload,
  );
  put16(data, 16, checksum(pseudo(version, Protocol.TCP, data.length), data));
  return data;
}

export function icmp(payload: Uint8Array = bytes(56)): Uint8Array {
  const data = concat(Uint8Array.of(8, 0, 0, 0), u16(0x4e45), u16(1), payload);
  put16(data, 2, checksum(data));
  return data;
}

export function icmpv6(payload: Uint8Array = bytes(56)): Uint8Array {
  const data = concat(Uint8Array.of(128, 0, 0, 0), u16(0x4e45), u16(1), payload);
  put16(data, 2, checksum(pseudo(6, Protocol.ICMPV6, data.length), data));
  return data;
}

// ── whole frames of every kind ──

export const udp4 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV4, ipv4(Protocol.UDP, udp(4, payload)), options);
export const tcp4 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV4, ipv4(Protocol.TCP, tcp(4, payload)), options);
export const icmp4 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV4, ipv4(Protocol.ICMP, icmp(payload)), options);
export const udp6 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV6, ipv6(Protocol.UDP, udp(6, payload)), options);
export const tcp6 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV6, ipv6(Protocol.TCP, tcp(6, payload)), options);
export const icmp6 = (payload?: Uint8Array, options?: EthernetOptions) =>
  ethernet(EtherType.IPV6, ipv6(Protocol.ICMPV6, icmpv6(payload)), options);
