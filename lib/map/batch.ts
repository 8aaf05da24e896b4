import type { NativeScan } from '../addon/binding.ts';
import type { Bytes } from '../core/bytes.ts';
import { EbpfStateError } from '../core/errors.ts';
import { keepAlive } from '../core/lifetime.ts';
import type { MapRef } from './map-ref.ts';

/** Options of BpfMap.batch(). */
export interface BatchOptions {
  /** Number of rows that next() reads at most. Default: the map's entries, at most 4096. */
  capacity?: number;
  /** Remove the rows that are read (hashes only, kernel 5.6). Default false. */
  take?: boolean;
}

const DEFAULT_CAPACITY = 4096;

/**
 * Scans a whole map as raw bytes, a batch of rows at a time, into arrays that stay the same.
 *
 * @example
 * using scan = map.batch();
 * for (let rows = scan.next(); rows > 0; rows = scan.next()) {
 *   for (let row = 0; row < rows; row++) use(scan.keys.subarray(row * scan.keyStride, (row + 1) * scan.keyStride));
 * }
 */
export class BatchReader implements Disposable {
  /** Number of bytes from one row's key to the next. */
  readonly keyStride: number;
  /** Number of bytes from one row's value to the next: the map's slotSize. */
  readonly valueStride: number;
  /**
   * How the scan reads: `batch`, or `iterate` (key by key) if the kernel has no batches for the map's type.
   */
  readonly via: 'batch' | 'iterate';
  readonly #map: MapRef;
  readonly #native: NativeScan;
  #closed = false;
  #capacity: number;
  #keys: Bytes;
  #values: Bytes;

  /** @internal */
  constructor(map: MapRef, { capacity, take = false }: BatchOptions = {}) {
    if (typeof take !== 'boolean') {
      throw new TypeError(`Expected a boolean for take but received ${typeof take}`);
    }
    if (capacity !== undefined && !(Number.isInteger(capacity) && capacity >= 1 && capacity < 2 ** 31)) {
      throw new RangeError(`Expected an integer from 1 to 2147483647 for capacity but received ${capacity}`);
    }
    this.#map = map;
    this.#capacity = capacity ?? Math.min(Math.max(map.maxEntries, 1), DEFAULT_CAPACITY);
    this.keyStride = map.keySize;
    this.valueStride = map.slotSize;
    this.#keys = this.#array(this.keyStride);
    this.#values = this.#array(this.valueStride);
    try {
      this.#native = map.native.scan(this.#keys, this.#values, this.#capacity, take);
    } catch (error) {
      throw map.failure('read', error);
    }
    this.via = this.#native.via;
    keepAlive(this, map);
  }

  /**
   * The keys: that of row i begins at `i * keyStride`. The array stays the same until next() needs a larger
   * one.
   */
  get keys(): Bytes {
    return this.#keys;
  }

  /** The values: that of row i begins at `i * valueStride`, laid out as get() returns it. */
  get values(): Bytes {
    return this.#values;
  }

  /**
   * Reads the next rows and returns their number, 0 at the end. If one bucket of a hash holds more rows than
   * the capacity, new arrays of twice the size replace the old ones.
   *
   * @throws EbpfMapError if the kernel refuses
   * @throws EbpfStateError after close() of the scan or of the map
   */
  next(): number {
    if (this.#closed) throw new EbpfStateError('the batch reader is closed', { state: 'closed' });
    try {
      for (;;) {
        const rows = this.#native.next();
        if (rows >= 0) return rows;
        this.#capacity *= 2;
        this.#keys = this.#array(this.keyStride);
        this.#values = this.#array(this.valueStride);
        this.#native.rebind(this.#keys, this.#values, this.#capacity);
      }
    } catch (error) {
      throw this.#map.failure('read', error);
    }
  }

  /** Starts the scan over. */
  rewind(): void {
    this.#native.rewind();
  }

  /** Releases the arrays. The map stays open. Closing twice is allowed. */
  close(): void {
    this.#closed = true;
    this.#keys = new Uint8Array();
    this.#values = new Uint8Array();
    this.#native.rebind(this.#keys, this.#values, 0);
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }

  // Shared memory cannot be detached while the kernel writes to it.
  #array(stride: number): Bytes {
    return new Uint8Array(new SharedArrayBuffer(this.#capacity * stride));
  }
}
