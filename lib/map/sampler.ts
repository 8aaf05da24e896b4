import type { NativeSampler, NativeSamplerOptions } from '../addon/binding.ts';
import { EbpfStateError } from '../core/errors.ts';
import { closedInTime, warnIfForgotten } from '../core/lifetime.ts';

/** How often a map is sampled, and how much is kept. */
export interface SamplerOptions {
  /** Microseconds from one sample to the next, on a clock that does not drift: 1 to 4294967295. */
  intervalUs: number;
  /** Samples that wait for drain(), before further ones are missed. Default 1024. */
  rows?: number;
  /** Aborting it closes the sampler. */
  signal?: AbortSignal;
}

/**
 * A thread that reads a map at an interval, and keeps what it read until drain(). Every interval is accounted for: it is
 * a sample, or it is counted in `missed`.
 */
export class MapSampler implements Disposable {
  readonly #native: NativeSampler;
  readonly #times: Float64Array;
  readonly #values: Float64Array;
  readonly #onClose: (sampler: MapSampler) => void;
  readonly #failure: (error: unknown) => unknown;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.close();
  #closed = false;

  /** `width`: numbers in a sample. @internal */
  constructor(
    open: (options: NativeSamplerOptions) => NativeSampler,
    width: number,
    { intervalUs, rows = 1024, signal }: SamplerOptions,
    onClose: (sampler: MapSampler) => void,
    failure: (error: unknown) => unknown,
  ) {
    positive('intervalUs', intervalUs);
    positive('rows', rows);
    signal?.throwIfAborted();
    const numbers = (count: number) => new Float64Array(new SharedArrayBuffer(8 * count));
    this.#times = numbers(rows);
    this.#values = numbers(rows * width);
    const options = {
      ...{ intervalUs, rows, outTimes: this.#times, outValues: this.#values },
      ...{ times: numbers(rows), values: numbers(rows * width) },
    };
    this.#failure = failure;
    this.#native = this.#attempt(() => open(options));
    this.#onClose = onClose;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort, { once: true });
    warnIfForgotten(this, 'a map sampler');
  }

  /** Intervals that have no sample: the thread woke too late, or nobody drained. */
  get missed(): number {
    return this.#native.missed();
  }

  /**
   * Hands out the samples since the last call, oldest first, in one call of `take`: sample i was read at `timesUs[i]`
   * (microseconds, on the clock of process.hrtime()), and its numbers begin at `values[i * values.length / timesUs.length]`,
   * laid out as the reader's. The arrays are the same ones at every call. Without samples `take` is not called.
   *
   * @returns the number of samples
   * @throws EbpfStateError after close()
   * @throws EbpfMapError what the kernel says to a read
   */
  drain(take: (timesUs: Float64Array, values: Float64Array, rows: number) => void): number {
    if (this.#closed) throw new EbpfStateError('the map sampler is closed', { state: 'closed' });
    if (typeof take !== 'function') throw new TypeError(`Expected a function but received ${typeof take}`);
    const rows = this.#attempt(() => this.#native.drain());
    if (rows > 0) take(this.#times, this.#values, rows);
    return rows;
  }

  #attempt<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** Stops the thread. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#native.close();
    this.#onClose(this);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function positive(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= 0xffffffff) return;
  throw new RangeError(`Expected an integer from 1 to 4294967295 for ${name} but received ${String(value)}`);
}
