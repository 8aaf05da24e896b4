import { isIPv4, isIPv6 } from 'node:net';
import { addressWords } from './address.ts';

const BYTES = 16;
const V4_AT = 12;

/** A prefix of addresses: its first bits, the rest zero. IPv4 is ::ffff:a.b.c.d. @internal */
export interface Prefix {
  /** As it is written: `10.0.0.0/8`, `2001:db8::/32`. */
  readonly words: string;
  /** Of the 128 of an IPv6 address. */
  readonly bits: number;
  readonly address: Uint8Array;
}

/**
 * @throws TypeError for what is no address and no prefix
 * @internal
 */
export function parsePrefix(text: string): Prefix {
  const [, host = '', length] =
    typeof text === 'string' ? (/^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []) : [];
  const version = isIPv4(host) ? 4 : isIPv6(host) && !host.includes('%') ? 6 : undefined;
  const most = version === 4 ? 32 : 128;
  const bits = length === undefined ? most : Number(length);
  if (version === undefined || bits > most) {
    throw new TypeError(
      `Expected an address or a prefix such as 10.0.0.0/8 or 2001:db8::/32 but received ${JSON.stringify(text)}`,
    );
  }
  const address = version === 4 ? mapped(host) : ipv6Bytes(host);
  const all = bits + 128 - most;
  for (let bit = all; bit < 128; bit++) {
    const at = bit >> 3;
    address[at] = (address[at] ?? 0) & ~(0x80 >> (bit & 7));
  }
  const view = new DataView(address.buffer);
  const words = addressWords(view, version === 4 ? V4_AT : 0, version);
  return { words: `${words}/${bits}`, bits: all, address };
}

function mapped(host: string): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(BYTES);
  address.set([0xff, 0xff, ...host.split('.').map(Number)], V4_AT - 2);
  return address;
}

function ipv6Bytes(host: string): Uint8Array<ArrayBuffer> {
  // The last 32 bits may be written as IPv4.
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(host);
  const [a = 0, b = 0, c = 0, d = 0] = dotted?.[2]?.split('.').map(Number) ?? [];
  const text = dotted ? `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}` : host;
  const [left = '', right] = text.split('::');
  const groups = (part: string) =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const [before, after] = [groups(left), right === undefined ? [] : groups(right)];
  const zeros = new Array<number>(8 - before.length - after.length).fill(0);
  const address = new Uint8Array(BYTES);
  const view = new DataView(address.buffer);
  for (const [i, group] of [...before, ...zeros, ...after].entries()) view.setUint16(2 * i, group);
  return address;
}
