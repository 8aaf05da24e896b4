import type { NativeSampler, NativeSamplerOptions } from '../addon/binding.ts';
import { EbpfStateError } from '../core/errors.ts';
import { closedInTime, warnIfForgotten } from '../core/lifetime.ts';

/** Options of MapReader.sample(). */
export interface SamplerOptions {
  /** Interval between samples in microseconds, 1 to 4294967295. Late samples do not delay later ones. */
  intervalUs: number;
  /** Number of samples to keep until drain(); further ones are counted as missed. Default 1024. */
  rows?: number;
  /** Closes the sampler when it is aborted. */
  signal?: AbortSignal;
}

/**
 * Reads a map at an interval on a thread of its own, and keeps the samples until drain(). Every interval
 * yields a sample or is counted in `missed`.
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

  /** `width` is the number of numbers in a sample. @internal */
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
      intervalUs,
      rows,
      outTimes: this.#times,
      outValues: this.#values,
      times: numbers(rows),
      values: numbers(rows * width),
    };
    this.#failure = failure;
    this.#native = this.#attempt(() => open(options));
    this.#onClose = onClose;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort, { once: true });
    warnIfForgotten(this, 'a map sampler');
  }

  /**
   * Number of intervals without a sample, because the thread woke up too late or there was no room before
   * drain().
   */
  get missed(): number {
    return this.#native.missed();
  }

  /**
   * Passes the samples since the last call to `take`, oldest first, in one call. Sample i was read at
   * `timesUs[i]` (microseconds on the clock of process.hrtime()), and its numbers begin at
   * `values[i * values.length / timesUs.length]`, laid out as the reader's. The arrays are the same at every
   * call. `take` is not called if there are no samples.
   *
   * @returns the number of samples
   * @throws EbpfStateError after close()
   * @throws EbpfMapError if the kernel refused a read
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

  /** Stops the thread. Closing twice is allowed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#native.close();
    this.#onClose(this);
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }
}

function positive(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= 0xffffffff) return;
  throw new RangeError(`Expected an integer from 1 to 4294967295 for ${name} but received ${String(value)}`);
}
