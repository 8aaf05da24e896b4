import { randomFillSync } from 'node:crypto';
import type { BpfMap } from '../map.ts';
import type { BatchReader } from '../map-batch.ts';
import { bytesAt, FLOW_SIZE, type Flow, flowAt, hasFlow } from './flow.ts';

// struct flow_set of tc_classifier.h.
const PLACES = 16;
const FIRST_PLACE = 8;
const SETS_AT_ONCE = 512;
const SEEDS = 5; // a word of struct flow_key has one

/** So many of them hold `flows`, or a few more. */
export function setsFor(flows: number): number {
  return Math.ceil(flows / PLACES);
}

/** Looks at all sets of flows, over and over, in memory that stays the same. */
export class FlowTable {
  readonly #sets: BatchReader;
  #rows = new DataView(new ArrayBuffer(64 * FLOW_SIZE));

  constructor(sets: BpfMap) {
    this.#sets = sets.batch({ capacity: Math.min(sets.maxEntries, SETS_AT_ONCE), lock: true });
  }

  /** The flows of the most bytes, the largest first. */
  largest(top: number): Flow[] {
    const count = this.#read();
    const rows = this.#rows;
    const bytes = Float64Array.from({ length: count }, (_, row) => bytesAt(rows, row * FLOW_SIZE));
    return Array.from({ length: count }, (_, row) => row)
      .sort((a, b) => (bytes[b] ?? 0) - (bytes[a] ?? 0))
      .slice(0, top)
      .map((row) => flowAt(rows, row * FLOW_SIZE));
  }

  close(): void {
    this.#sets.close();
  }

  /** Packs the places that have a flow; how many those are. */
  #read(): number {
    const sets = this.#sets;
    let rows = 0;
    sets.rewind();
    for (let count = sets.next(); count > 0; count = sets.next()) {
      const { values, valueStride } = sets;
      for (let set = 0; set < count; set++) {
        for (let place = 0; place < PLACES; place++) {
          const at = set * valueStride + FIRST_PLACE + place * FLOW_SIZE;
          if (hasFlow(values, at)) this.#keep(values.subarray(at, at + FLOW_SIZE), rows++);
        }
      }
    }
    return rows;
  }

  #keep(flow: Uint8Array, row: number): void {
    const { buffer } = this.#rows;
    if ((row + 1) * FLOW_SIZE > buffer.byteLength) {
      const larger = new Uint8Array(2 * buffer.byteLength);
      larger.set(new Uint8Array(buffer));
      this.#rows = new DataView(larger.buffer);
    }
    new Uint8Array(this.#rows.buffer).set(flow, row * FLOW_SIZE);
  }
}

/** For `flow_seeds`. */
export function randomSeeds(): Uint8Array {
  const numbers = randomFillSync(new BigUint64Array(SEEDS));
  return new Uint8Array(numbers.map((number) => number | 1n).buffer);
}
