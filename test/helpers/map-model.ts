// What a map has to hold: the rules of kernel/bpf, over a JavaScript Map.
import { execFileSync } from 'node:child_process';
import { type BpfMap, possibleCpus } from '../../lib/map/map.ts';

export type Random = (below: number) => number;

export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));

export function randomBytes(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random(256);
  return bytes;
}

/** Bytes of one CPU's value in a slot. */
export function strideOf({ slotSize, valueSize, type }: BpfMap): number {
  return type.includes('percpu') ? Math.ceil(valueSize / 8) * 8 : slotSize;
}

/** A slot without what the kernel rounds per-CPU values up by: it promises nothing about those bytes. */
export function trimmed(map: BpfMap, slot: Uint8Array): string {
  const stride = strideOf(map);
  if (stride === map.valueSize || map.slotSize === map.valueSize) return hex(slot);
  return Array.from({ length: possibleCpus() }, (_, cpu) =>
    hex(slot.subarray(cpu * stride, cpu * stride + map.valueSize)),
  ).join('');
}

interface Dumped {
  key: string[];
  value?: string[] | { error: string };
  values?: { cpu: number; value: string[] }[];
}

const fromText = (bytes: readonly string[]): string => bytes.map((byte) => byte.slice(2)).join('');

/** `bpftool map dump`, by key; values as trimmed() has them. Keys whose value nobody may read are left out. */
export function dumped(map: BpfMap): Map<string, string> {
  const text = execFileSync('bpftool', ['-j', 'map', 'dump', 'id', `${map.id}`], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const rows = new Map<string, string>();
  for (const { key, value, values } of JSON.parse(text) as Dumped[]) {
    const found = values ? values.map((each) => fromText(each.value)).join('') : value;
    if (typeof found === 'string') rows.set(fromText(key), found);
    else if (Array.isArray(found)) rows.set(fromText(key), fromText(found));
  }
  return rows;
}

export type Kind = 'hash' | 'array' | 'lru' | 'lpm';

export function kindOf(type: string): Kind {
  if (type === 'lpm_trie') return 'lpm';
  if (type.startsWith('lru')) return 'lru';
  return type.endsWith('array') ? 'array' : 'hash';
}

/** Whether `length` first bits of two keys are the same. */
function samePrefix(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let bit = 0; bit < length; bit++) {
    const mask = 0x80 >> (bit & 7);
    if (((a[bit >> 3] ?? 0) & mask) !== ((b[bit >> 3] ?? 0) & mask)) return false;
  }
  return true;
}

const prefixOf = (key: Uint8Array): number => new DataView(key.buffer, key.byteOffset).getUint32(0, true);

/** A map of values: `rows` is what was written and not removed. An LRU map may hold less. */
export class MapModel {
  readonly rows = new Map<string, string>();
  readonly kind: Kind;
  readonly #map: BpfMap;

  constructor(map: BpfMap) {
    this.#map = map;
    this.kind = kindOf(map.type);
    if (this.kind !== 'array') return;
    for (let i = 0; i < map.maxEntries; i++) {
      this.rows.set(
        hex(new Uint8Array(Uint32Array.of(i).buffer)),
        trimmed(map, new Uint8Array(map.slotSize)),
      );
    }
  }

  /** The errno that a write ends with. */
  refusal(key: Uint8Array, flags: number): string | undefined {
    const there = this.rows.has(hex(key));
    if (this.kind === 'array') {
      if (prefixOf(key) >= this.#map.maxEntries) return 'E2BIG';
      return flags === 1 ? 'EEXIST' : undefined;
    }
    if (there) return flags === 1 ? 'EEXIST' : undefined;
    if (flags === 2) return 'ENOENT';
    if (this.kind === 'lru' || this.rows.size < this.#map.maxEntries) return undefined;
    return this.kind === 'lpm' ? 'ENOSPC' : 'E2BIG';
  }

  /** What a lookup finds: of an LPM trie, the entry with the longest prefix of `key`. */
  find(key: Uint8Array): string | undefined {
    if (this.kind !== 'lpm') return this.rows.get(hex(key));
    let best: { length: number; value: string } | undefined;
    for (const [text, value] of this.rows) {
      const entry = unhex(text);
      const length = prefixOf(entry);
      if (length > prefixOf(key) || (best && best.length >= length)) continue;
      if (samePrefix(entry.subarray(4), key.subarray(4), length)) best = { length, value };
    }
    return best?.value;
  }
}

/** A key that may be in a map of this shape, from a set that is about twice as large as the map. */
export function randomKey(random: Random, { type, keySize, maxEntries }: BpfMap): Uint8Array {
  const kind = kindOf(type);
  const key = new Uint8Array(keySize);
  if (kind === 'array') {
    new DataView(key.buffer).setUint32(0, random(maxEntries + 2), true);
    return key;
  }
  if (kind === 'lpm') {
    const bits = 8 * (keySize - 4);
    const length = random(Math.min(bits, 10) + 1);
    new DataView(key.buffer).setUint32(0, length, true);
    for (let bit = 0; bit < length; bit++) {
      if (random(2) === 1) key[4 + (bit >> 3)] = (key[4 + (bit >> 3)] ?? 0) | (0x80 >> (bit & 7));
    }
    return key;
  }
  const number = random(Math.min(2 * maxEntries, 256 ** Math.min(keySize, 4)));
  for (let i = 0; i < keySize; i++) key[i] = i < 4 ? (number >>> (8 * i)) & 0xff : i & 0xff;
  return key;
}
