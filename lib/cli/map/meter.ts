/** The part of MapReader that MapMeter uses; tests implement it too. */
export interface Rows {
  readonly keys: Uint8Array;
  readonly values: Float64Array;
  readonly fields: number;
  readonly cpus: number;
  read(): number;
}

export interface MapRow {
  key: number | string;
  /** The number of the CPU, if each CPU has its own row. */
  cpu?: number;
  values: readonly number[];
  /** Per second of the time that really passed. */
  rates: readonly number[];
  changed: boolean;
}

export interface MapSample {
  time: Date;
  /** Seconds since the meter was made. */
  elapsed: number;
  rows: readonly MapRow[];
}

/** Computes the rates of a map's rows. A new row counts from 0. */
export class MapMeter {
  readonly #reader: Rows;
  readonly #keyOf: (key: Uint8Array) => number | string;
  readonly #perCpu: boolean;
  readonly #keySize: number;
  readonly #now: () => number;
  readonly #start: number;
  #at: number;
  #before: ReadonlyMap<string, readonly number[]> | undefined;

  /** @param now a monotonic clock, in milliseconds */
  constructor(
    reader: Rows,
    shape: { keySize: number; perCpu: boolean; keyOf: (key: Uint8Array) => number | string },
    now: () => number = () => performance.now(),
  ) {
    this.#reader = reader;
    this.#keyOf = shape.keyOf;
    this.#perCpu = shape.perCpu;
    this.#keySize = shape.keySize;
    this.#now = now;
    this.#start = now();
    this.#at = this.#start;
  }

  sample(): MapSample {
    const { fields, cpus } = this.#reader;
    const count = this.#reader.read();
    const { keys, values } = this.#reader;
    const at = this.#now();
    const seconds = (at - this.#at) / 1000;
    const seen = new Map<string, readonly number[]>();
    const rows: MapRow[] = [];
    for (let row = 0; row < count; row++) {
      const key = this.#keyOf(keys.subarray(row * this.#keySize, (row + 1) * this.#keySize));
      for (let cpu = 0; cpu < cpus; cpu++) {
        const begin = (row * cpus + cpu) * fields;
        const numbers = Array.from(values.subarray(begin, begin + fields));
        const name = `${key} ${cpu}`;
        seen.set(name, numbers);
        rows.push({
          key,
          values: numbers,
          ...this.#change(name, numbers, seconds),
          ...(this.#perCpu ? { cpu } : {}),
        });
      }
    }
    this.#at = at;
    this.#before = seen;
    return { time: new Date(), elapsed: (at - this.#start) / 1000, rows };
  }

  #change(name: string, numbers: readonly number[], seconds: number): Pick<MapRow, 'rates' | 'changed'> {
    const before = this.#before;
    if (!before || seconds <= 0) return { rates: numbers.map(() => 0), changed: false };
    const old = before.get(name);
    const differences = numbers.map((value, field) => value - (old?.[field] ?? 0));
    return {
      rates: differences.map((difference) => Math.round((difference / seconds) * 1000) / 1000),
      changed: old === undefined || differences.some((difference) => difference !== 0),
    };
  }
}
