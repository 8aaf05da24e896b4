import type { NativeScan } from '../addon/binding.ts';
import type { Bytes } from '../core/bytes.ts';
import { EbpfStateError } from '../core/errors.ts';
import { keepAlive } from '../core/lifetime.ts';
import type { MapRef } from './map-ref.ts';

/** How a scan goes through a map. */
export interface BatchOptions {
  /** Rows at a time. Default: the map's entries, at most 4096. */
  capacity?: number;
  /** Remove what is read (kernel 5.6 for hashes; arrays cannot). */
  take?: boolean;
}

const DEFAULT_CAPACITY = 4096;

/**
 * A whole map as raw bytes, some rows at a time, into arrays that stay the same.
 *
 * @example
 * using scan = map.batch();
 * for (let rows = scan.next(); rows > 0; rows = scan.next()) {
 *   for (let row = 0; row < rows; row++) use(scan.keys.subarray(row * scan.keyStride, (row + 1) * scan.keyStride));
 * }
 */
export class BatchReader implements Disposable {
  /** Bytes from one row's key to the next. */
  readonly keyStride: number;
  /** Bytes from one row's value to the next: a slot. */
  readonly valueStride: number;
  /** `iterate`: key by key, where the kernel has no batches for the type. */
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

  /** Row i's key begins at `i * keyStride`. The same array until next() makes a larger one. */
  get keys(): Bytes {
    return this.#keys;
  }

  /** Row i's slot begins at `i * valueStride`; laid out as get() gives it. */
  get values(): Bytes {
    return this.#values;
  }

  /**
   * The next rows; 0 at the end. Where one bucket of a hash holds more than the capacity, the arrays are made anew, twice
   * as large.
   *
   * @throws EbpfMapError what the kernel says
   * @throws EbpfStateError after close(), of it or of the map
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

  /** Starts over. */
  rewind(): void {
    this.#native.rewind();
  }

  /** Nothing is held but memory: the map stays open. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#keys = new Uint8Array();
    this.#values = new Uint8Array();
    this.#native.rebind(this.#keys, this.#values, 0);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  // Shared memory cannot be taken away from under the kernel's hands.
  #array(stride: number): Bytes {
    return new Uint8Array(new SharedArrayBuffer(this.#capacity * stride));
  }
}
