/** What a percentile is taken for, and how far off it may be. */
export interface Percentile {
  /** The geometric middle of the slot that the call fell in, in nanoseconds; NaN where nothing was counted. */
  ns: number;
  /**
   * The true value is from `ns / errorFactor` to `ns * errorFactor`: √2, as a slot ends at twice its beginning. Infinity in
   * the first slot, which begins at 0, and in the last, which has no end; NaN where nothing was counted.
   */
  errorFactor: number;
}

/**
 * How often something took how long. Slot i counts what took at least 2^i ns and less than 2^(i+1); the first slot begins at
 * 0, the last has no end.
 *
 * @example
 * const { ns, errorFactor } = histogram.percentile(99);
 * console.log(`99 of 100 took ${ns / 1000} µs or less, give or take a factor of ${errorFactor}`);
 */
export class Log2Histogram {
  /** Calls. While calls go on it may be a few off the sum of `slots`: the kernel writes one after the other. */
  readonly count: number;
  /** What they took together, in nanoseconds: `sumNs / count` is their mean, exactly. */
  readonly sumNs: number;
  /** Calls by slot. */
  readonly slots: Float64Array;

  /** @internal */
  constructor(count: number, sumNs: number, slots: Float64Array) {
    this.count = count;
    this.sumNs = sumNs;
    this.slots = slots;
  }

  /**
   * What `p` of 100 calls took at most, by nearest rank.
   *
   * @param p above 0, up to 100
   */
  percentile(p: number): Percentile {
    if (!(p > 0 && p <= 100))
      throw new RangeError(`Expected a percentage above 0 and up to 100 but received ${p}`);
    const total = this.slots.reduce((sum, calls) => sum + calls, 0);
    if (total === 0) return { ns: Number.NaN, errorFactor: Number.NaN };
    const rank = Math.ceil((p / 100) * total);
    let seen = 0;
    const slot = this.slots.findIndex((calls) => {
      seen += calls;
      return seen >= rank;
    });
    const open = slot === 0 || slot === this.slots.length - 1;
    return { ns: 2 ** slot * Math.SQRT2, errorFactor: open ? Number.POSITIVE_INFINITY : Math.SQRT2 };
  }

  /**
   * What was counted since an earlier look at the same calls.
   *
   * @example
   * const before = latency.read().read;
   * await work();
   * console.log(latency.read().read.since(before).percentile(50).ns);
   */
  since(earlier: Log2Histogram): Log2Histogram {
    const slots = this.slots.map((calls, slot) => calls - (earlier.slots[slot] ?? 0));
    return new Log2Histogram(this.count - earlier.count, this.sumNs - earlier.sumNs, slots);
  }
}
