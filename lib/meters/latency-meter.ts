import type { Log2Histogram } from '../programs/log2-histogram.ts';
import type { LostCalls } from '../programs/syscall-latency.ts';

/** What was measured up to a moment, and since the sample before. */
export interface LatencySample {
  time: Date;
  /** Since the meter was made, in seconds. */
  elapsed: number;
  /** By system call. */
  totals: Record<string, Log2Histogram>;
  last: Record<string, Log2Histogram>;
  /** Calls per second of the time that really passed. */
  rates: Record<string, number>;
  lost: LostCalls;
}

/** What a meter has of SyscallLatency. */
export interface Measuring {
  read(): Record<string, Log2Histogram>;
  lost(): LostCalls;
}

/** Turns histograms that only grow into those of an interval. */
export class LatencyMeter {
  readonly #measuring: Measuring;
  readonly #now: () => number;
  readonly #start: number;
  #at: number;
  #totals: Record<string, Log2Histogram>;

  /** @param now milliseconds of a clock that only goes forward */
  constructor(measuring: Measuring, now: () => number = () => performance.now()) {
    this.#measuring = measuring;
    this.#now = now;
    this.#start = this.#at = now();
    this.#totals = measuring.read();
  }

  sample(): LatencySample {
    const totals = this.#measuring.read();
    const lost = this.#measuring.lost();
    const at = this.#now();
    const seconds = (at - this.#at) / 1000;
    const before = this.#totals;
    const last = mapValues(totals, (histogram, name) => {
      const earlier = before[name];
      return earlier ? histogram.since(earlier) : histogram;
    });
    const rates = mapValues(last, ({ count }) => perSecond(count, seconds));
    this.#at = at;
    this.#totals = totals;
    return { time: new Date(), elapsed: (at - this.#start) / 1000, totals, last, rates, lost };
  }
}

/** The rates of the whole run. */
export function meanRates({ totals, elapsed }: LatencySample): Record<string, number> {
  return mapValues(totals, ({ count }) => perSecond(count, elapsed));
}

export function mapValues<T, R>(of: Record<string, T>, f: (value: T, name: string) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [name, f(value, name)]));
}

function perSecond(amount: number, seconds: number): number {
  return seconds > 0 ? Math.round((amount / seconds) * 1000) / 1000 : 0;
}
