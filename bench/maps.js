// Filled maps to read, opened by both sides: by the library and by the C reference.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BpfMap } from '../dist/index.js';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
export const reference = createRequire(import.meta.url)('../.cache/bench/reference.node');
const SNAPSHOT = at('../dist/bpf/snapshot.bpf.o');
const MMAPABLE = 1 << 10; // BPF_F_MMAPABLE
const CHUNK = 65_536;

/**
 * Makes a map with all entries set. `close` closes both sides.
 *
 * @param {{ type: string, maxEntries: number, words: number, mmapable?: boolean }} shape `words`: 64-bit
 * words in a value
 */
export function filled({ type, maxEntries, words, mmapable = false }) {
  const map = BpfMap.create({
    name: 'bench',
    type,
    keySize: 4,
    valueSize: 8 * words,
    maxEntries,
    flags: mmapable ? MMAPABLE : 0,
  });
  const isArray = type.endsWith('array');
  const perRow = map.slotSize / 8;
  for (let from = 0; from < maxEntries; from += CHUNK) {
    const count = Math.min(CHUNK, maxEntries - from);
    // Keys are spread over the hash; values are numbers as counters hold them.
    const keys = Uint32Array.from({ length: count }, (_, i) =>
      isArray ? from + i : Math.imul(from + i, 0x9e3779b1) >>> 0,
    );
    const values = BigUint64Array.from(
      { length: count * perRow },
      (_, i) => BigInt(from * perRow + i) * 7919n,
    );
    map.setBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), count);
  }
  const subject = reference.open(map.fd);
  return { map, subject, isArray, perCpu: type.startsWith('percpu'), mmapable, words };
}

/** C as a contender: one of the reference's operations. */
export function inC(operation, subject, via = operation) {
  return { impl: 'C', via, run: (loops) => reference[operation](subject, loops) };
}

export function prepareSnapshot(subject) {
  reference.prepareSnapshot(subject, SNAPSHOT);
}
