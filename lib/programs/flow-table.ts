import { randomFillSync } from 'node:crypto';
import type { BpfMap } from '../map/map.ts';
import type { MapSlot } from '../map/slot.ts';
import { bytesAt, FLOW_SIZE, type Flow, flowAt, hasFlow } from './flow.ts';

// struct flow_set of tc_classifier.h.
const PLACES = 16;
const FIRST_PLACE = 8;
const SEEDS = 5; // a word of struct flow_key has one

/** So many of them hold `flows`, or a few more. */
export function setsFor(flows: number): number {
  return Math.ceil(flows / PLACES);
}

export function flowsIn(sets: number): number {
  return sets * PLACES;
}

/** For `flow_seeds`. */
export function randomSeeds(): Uint8Array {
  const numbers = randomFillSync(new BigUint64Array(SEEDS));
  return new Uint8Array(numbers.map((number) => number | 1n).buffer);
}

/** The maps `flows` and `flow_fills` of tc_classifier, for who looks at them over and over. */
export class FlowTable {
  readonly #set: MapSlot;
  readonly #index: Uint32Array;
  readonly #fills: BpfMap;
  #rows = new DataView(new ArrayBuffer(64 * FLOW_SIZE));

  constructor(sets: BpfMap, fills: BpfMap) {
    this.#set = sets.slot(0, { lock: true });
    this.#index = new Uint32Array(this.#set.key.buffer);
    this.#fills = fills;
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

  /** Packs the places that have a flow; how many those are. */
  #read(): number {
    const { value } = this.#set;
    const fills = new Uint32Array(this.#fills.memory()); // two of them for each set
    let rows = 0;
    for (let half = 0; half < fills.length; half++) {
      if (fills[half] === 0) continue;
      this.#index[0] = half >> 1;
      this.#set.read();
      for (let at = FIRST_PLACE; at < value.length; at += FLOW_SIZE) {
        if (hasFlow(value, at)) this.#keep(value.subarray(at, at + FLOW_SIZE), rows++);
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
