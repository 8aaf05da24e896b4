// The reference for xdp_counter: which row a frame belongs to, written from the standards and not from the
// program.

export type Row = 'tcp' | 'udp' | 'icmp' | 'other';

/**
 * A view of what is left of the frame. Reading past its end is `undefined`, which every rule below reads as
 * "not whole".
 */
class Rest {
  readonly #data: Uint8Array;
  constructor(data: Uint8Array) {
    this.#data = data;
  }
  get length(): number {
    return this.#data.length;
  }
  octet(at: number): number | undefined {
    return this.#data[at];
  }
  pair(at: number): number | undefined {
    const [high, low] = [this.#data[at], this.#data[at + 1]];
    return high === undefined || low === undefined ? undefined : high * 256 + low;
  }
  after(length: number | undefined): Rest | undefined {
    return length === undefined || length > this.#data.length
      ? undefined
      : new Rest(this.#data.subarray(length));
  }
}

/**
 * IEEE 802.3: destination, source, type or length. 802.1Q, 802.1ad: a tag is its own type and 16 bits of
 * control in front of it.
 */
export function classify(frame: Uint8Array): Row {
  const whole = new Rest(frame);
  const type = whole.pair(12);
  const payload = whole.after(14);
  if (type === undefined || !payload) return 'other';
  return link(type, payload, 2);
}

const TAG_TYPES: ReadonlySet<number> = new Set([0x8100, 0x88a8, 0x9100]);

function link(type: number, payload: Rest, tagsAllowed: number): Row {
  if (type === 0x0800) return internet4(payload);
  if (type === 0x86dd) return internet6(payload);
  if (!TAG_TYPES.has(type) || tagsAllowed === 0) return 'other';
  const inner = payload.pair(2);
  const rest = payload.after(4);
  return inner === undefined || !rest ? 'other' : link(inner, rest, tagsAllowed - 1);
}

/** RFC 791, 3.1: version 4, an internet header length of 5 words or more, the protocol in the tenth octet. */
function internet4(packet: Rest): Row {
  const first = packet.octet(0);
  const protocol = packet.octet(9);
  if (first === undefined || protocol === undefined) return 'other';
  const words = first % 16;
  if (Math.floor(first / 16) !== 4 || words < 5 || !packet.after(words * 4)) return 'other';
  return ({ 6: 'tcp', 17: 'udp', 1: 'icmp' } as const)[protocol] ?? 'other';
}

/** The program's own limit, one of its documented rules. */
const LONGEST_CHAIN = 8;

/** RFC 8200, 4: what each extension header's length is, in octets. */
const EXTENSION_LENGTH: Readonly<Record<number, (header: Rest) => number | undefined>> = {
  0: inEights, // hop-by-hop options
  43: inEights, // routing
  60: inEights, // destination options
  135: inEights, // mobility, RFC 6275
  139: inEights, // host identity protocol, RFC 7401
  140: inEights, // shim6, RFC 5533
  44: () => 8, // fragment
  51: (header) => plus(header.octet(1), 2, 4), // authentication, RFC 4302: 32-bit words, minus 2
};

function inEights(header: Rest): number | undefined {
  return plus(header.octet(1), 1, 8); // 8-octet units, not counting the first
}

function plus(field: number | undefined, uncounted: number, unit: number): number | undefined {
  return field === undefined ? undefined : (field + uncounted) * unit;
}

function internet6(packet: Rest): Row {
  const first = packet.octet(0);
  const next = packet.octet(6);
  const payload = packet.after(40);
  if (first === undefined || next === undefined || !payload || Math.floor(first / 16) !== 6) return 'other';
  return chain(next, payload, 0);
}

function chain(next: number, header: Rest, walked: number): Row {
  const lengthOf = EXTENSION_LENGTH[next];
  if (!lengthOf) return upper6(next);
  if (walked === LONGEST_CHAIN) return 'other';
  const rest = header.after(lengthOf(header));
  const following = header.octet(0);
  if (!rest || following === undefined) return 'other';
  if (next === 44) {
    const field = header.pair(2);
    if (field === undefined) return 'other';
    // RFC 8200, 4.5: behind a fragment that is not the first comes data from the middle, no header.
    if (Math.floor(field / 8) !== 0) return upper6(following);
  }
  return chain(following, rest, walked + 1);
}

function upper6(next: number): Row {
  return ({ 6: 'tcp', 17: 'udp', 58: 'icmp' } as const)[next] ?? 'other';
}
