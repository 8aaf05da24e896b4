/** The last values of a signal, in memory that does not grow. */
export class History {
  readonly #times: Float64Array;
  readonly #values: Float64Array;
  #count = 0;

  constructor(length: number) {
    this.#times = new Float64Array(length);
    this.#values = new Float64Array(length);
  }

  push(time: number, value: number): void {
    const at = this.#count++ % this.#times.length;
    this.#times[at] = time;
    this.#values[at] = value;
  }

  /** How many there are. */
  get length(): number {
    return Math.min(this.#count, this.#times.length);
  }

  /** The newest; NaN where there is none. */
  get last(): number {
    return this.#count === 0
      ? Number.NaN
      : (this.#values[(this.#count - 1) % this.#values.length] ?? Number.NaN);
  }

  /** Copies, the oldest first. */
  read(): { times: Float64Array; values: Float64Array } {
    const { length } = this;
    const from = this.#count - length;
    const at = (i: number) => (from + i) % this.#times.length;
    return {
      times: Float64Array.from({ length }, (_, i) => this.#times[at(i)] ?? 0),
      values: Float64Array.from({ length }, (_, i) => this.#values[at(i)] ?? 0),
    };
  }
}
