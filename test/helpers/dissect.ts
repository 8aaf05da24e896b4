// The reference for tc_classifier: the flow that a frame belongs to, written from the standards and not from the program.

export interface Facts {
  readonly version: 4 | 6;
  readonly protocol: number;
  /** In the words of the standard library, not of lib/programs/flow.ts. */
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

type Half = Omit<Facts, 'sourcePort' | 'destinationPort'> & { readonly behind: Uint8Array | undefined };

const TAGS = [0x8100, 0x88a8, 0x9100];
/** TCP, UDP, DCCP (RFC 4340), SCTP (RFC 9260), UDP-Lite (RFC 3828): source and destination port come first. */
const WITH_PORTS = [6, 17, 33, 132, 136];
const LONGEST_CHAIN = 8;

const u16 = (data: Uint8Array, at: number) => (data[at] ?? 0) * 256 + (data[at + 1] ?? 0);

/** Undefined: in no flow. `tagsBeside` are VLAN tags that the frame had and has no more. */
export function dissect(frame: Uint8Array, tagsBeside = 0): Facts | undefined {
  let at = 12;
  let tags = tagsBeside;
  while (TAGS.includes(u16(frame, at)) && frame.length >= at + 2) {
    tags++;
    at += 4;
  }
  if (tags > 2 || frame.length < at + 2) return undefined;
  const type = u16(frame, at);
  const packet = frame.subarray(at + 2);
  return type === 0x0800 ? ports(internet4(packet)) : type === 0x86dd ? ports(internet6(packet)) : undefined;
}

/** A packet without a link layer. */
export function dissectIp(packet: Uint8Array): Facts | undefined {
  return ports((packet[0] ?? 0) >> 4 === 4 ? internet4(packet) : internet6(packet));
}

function ports(half: Half | undefined): Facts | undefined {
  if (!half) return undefined;
  const { behind, ...rest } = half;
  const there = behind && behind.length >= 4 && WITH_PORTS.includes(half.protocol);
  return {
    ...rest,
    sourcePort: there ? u16(behind, 0) : 0,
    destinationPort: there ? u16(behind, 2) : 0,
  };
}

/** RFC 791, 3.1. Fragments: the offset is the lower 13 bits of octets 6 and 7. */
function internet4(packet: Uint8Array): Half | undefined {
  const words = (packet[0] ?? 0) % 16;
  if (packet.length < 20 || Math.floor((packet[0] ?? 0) / 16) !== 4) return undefined;
  if (words < 5 || words * 4 > packet.length) return undefined;
  return {
    version: 4,
    protocol: packet[9] ?? 0,
    source: packet.subarray(12, 16).join('.'),
    destination: packet.subarray(16, 20).join('.'),
    behind: u16(packet, 6) % 8192 === 0 ? packet.subarray(words * 4) : undefined,
  };
}

function internet6(packet: Uint8Array): Half | undefined {
  if (packet.length < 40 || Math.floor((packet[0] ?? 0) / 16) !== 6) return undefined;
  const upper = chain(packet[6] ?? 0, packet.subarray(40));
  if (!upper) return undefined;
  return {
    version: 6,
    source: words6(packet.subarray(8, 24)),
    destination: words6(packet.subarray(24, 40)),
    ...upper,
  };
}

const EIGHTS = [0, 43, 60, 135, 139, 140];

/** RFC 8200, 4; RFC 4302 for 51. */
function chain(
  next: number,
  rest: Uint8Array,
): { protocol: number; behind: Uint8Array | undefined } | undefined {
  let protocol = next;
  let behind = rest;
  for (let walked = 0; ; walked++) {
    if (!EIGHTS.includes(protocol) && protocol !== 44 && protocol !== 51) return { protocol, behind };
    if (walked === LONGEST_CHAIN || behind.length < 8) return undefined;
    const field = behind[1] ?? 0;
    const length = protocol === 44 ? 8 : protocol === 51 ? (field + 2) * 4 : (field + 1) * 8;
    if (behind.length < length) return undefined;
    const fragment = protocol === 44 && u16(behind, 2) >= 8;
    protocol = behind[0] ?? 0;
    if (fragment) return { protocol, behind: undefined };
    behind = behind.subarray(length);
  }
}

/** As URL writes hosts; of RFC 5952 it lacks the dots of IPv4-mapped addresses. */
function words6(address: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, group) => u16(address, 2 * group).toString(16));
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

/** struct flow_key of bpf/tc_classifier.h; IPv4 as four octets and zeros. */
export function flowKey(facts: Facts, direction: 'ingress' | 'egress'): Uint8Array {
  const key = new Uint8Array(40);
  key.set(octets(facts.source), 0);
  key.set(octets(facts.destination), 16);
  key.set([facts.sourcePort >> 8, facts.sourcePort & 255], 32);
  key.set([facts.destinationPort >> 8, facts.destinationPort & 255], 34);
  key.set([facts.protocol, facts.version, direction === 'ingress' ? 0 : 1], 36);
  return key;
}

function octets(address: string): number[] {
  if (!address.includes(':')) return address.split('.').map(Number);
  const [head = '', tail] = address.split('::');
  const groups = (text: string) =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const [front, back] = [groups(head), groups(tail ?? '')];
  const zeros = tail === undefined ? [] : Array<number>(8 - front.length - back.length).fill(0);
  return [...front, ...zeros, ...back].flatMap((group) => [group >> 8, group & 255]);
}
