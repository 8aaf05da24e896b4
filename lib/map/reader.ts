import type { NativeReader, NativeReaderOptions } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Bytes } from '../core/bytes.ts';
import { EbpfError, EbpfNotSupportedError, EbpfStateError, isNativeFailure } from '../core/errors.ts';
import { closedInTime, keepAlive, warnIfForgotten } from '../core/lifetime.ts';
import { type CounterField, counterFields } from './fields.ts';
import type { MapRef } from './map-ref.ts';
import { MapSampler, type SamplerOptions } from './sampler.ts';
import { hasSnapshot, loadSnapshot } from './snapshot.ts';

/** How a reader reads: from mapped memory, by a program in the kernel, in batches, or key by key. */
export type ReadPath = 'mmap' | 'snapshot' | 'batch' | 'lookup';

/** Options of BpfMap.reader(). */
export interface ReaderOptions {
  /**
   * The integers of a value to read, each by byte offset (unsigned, 64 bits) or by its name in BTF:
   * `packets`, `slots[3]`, `ipv4.bytes`. Default: every 64-bit word of the value.
   */
  fields?: readonly (number | string)[];
  /** Return one number for each possible CPU instead of their sum. Default false. */
  perCpu?: boolean;
  /**
   * How to read. Default `auto`: mapped memory if the map has it, else a snapshot for arrays (kernel 5.19),
   * else batches (5.6), else key by key. A hash is read by snapshot only on request: while keys come and go,
   * a snapshot may miss keys that are present throughout and return others twice.
   */
  via?: 'auto' | ReadPath;
  /**
   * Number of rows to allocate for. Default: the map's entries, at most 2^20. The reader grows if there are
   * more.
   */
  capacity?: number;
}

/**
 * The number of a closed reader: no open reader has it, while its old number may have been given to another.
 */
const NOBODY = 2 ** 30;
const MMAPABLE = 1 << 10; // BPF_F_MMAPABLE
const DEFAULT_CAPACITY = 2 ** 20;
const MOST_ROWS = 2 ** 31 - 1;

const TYPES: ReadonlySet<string> = new Set([
  'array',
  'percpu_array',
  'hash',
  'percpu_hash',
  'lru_hash',
  'lru_percpu_hash',
  'lpm_trie',
]);

/**
 * Reads a whole map of counters in one call. The arrays stay the same from read to read, so that polling
 * makes no garbage.
 *
 * @example
 * using reader = map.reader({ fields: ['packets', 'bytes'] });
 * for (let row = 0, rows = reader.read(); row < rows; row++) {
 *   console.log(reader.values[row * reader.fields], reader.values[row * reader.fields + 1]);
 * }
 */
export class MapReader implements Disposable {
  /** How this reader reads. */
  readonly via: ReadPath;
  /** Number of fields in a row, for one CPU. */
  readonly fields: number;
  /** Number of CPUs that a row has numbers for: possibleCpus() with `perCpu`, else 1. */
  readonly cpus: number;
  readonly #map: MapRef;
  readonly #layout: readonly CounterField[];
  readonly #perCpu: boolean;
  readonly #samplers = new Set<MapSampler>();
  readonly #readCounters = native().readCounters;
  #native: NativeReader;
  #number = NOBODY;
  #capacity: number;
  #keys!: Uint8Array;
  #values!: Float64Array;
  #status!: Int32Array;
  #wide: BigUint64Array | undefined;
  #grown = false;
  #closed = false;

  /** @internal */
  constructor(map: MapRef, options: ReaderOptions = {}) {
    const { perCpu = false, via = 'auto' } = options;
    if (!['auto', 'mmap', 'snapshot', 'batch', 'lookup'].includes(via)) {
      throw new TypeError(
        `Expected auto, mmap, snapshot, batch or lookup for via but received ${String(via)}`,
      );
    }
    if (typeof perCpu !== 'boolean') {
      throw new TypeError(`Expected a boolean for perCpu but received ${typeof perCpu}`);
    }
    if (!TYPES.has(map.type)) {
      throw new EbpfNotSupportedError(`read map ${map.name}: a ${map.type} map has no rows of counters`, {
        feature: `reader of a ${map.type} map`,
        hint: `readers are for ${[...TYPES].join(', ')}`,
      });
    }
    this.#map = map;
    this.#perCpu = perCpu;
    this.#layout = counterFields(map, options.fields);
    this.fields = this.#layout.length;
    const { cpus } = map.native.describe();
    this.cpus = perCpu ? cpus : 1;
    this.#capacity = rowsFor(map, options.capacity);
    const opened = via === 'auto' ? this.#best() : { via, native: this.#open(via) };
    this.via = opened.via;
    this.#native = opened.native;
    this.#number = opened.native.number;
    keepAlive(this, map);
    warnIfForgotten(this, `a reader of the BPF map ${map.name}`);
  }

  /** Number of rows that the arrays have room for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The keys, `capacity` × the map's keySize bytes. The key of an array's row is its index. */
  get keys(): Bytes {
    return this.#keys;
  }

  /**
   * The values, `capacity` × `cpus` × `fields` numbers: in each row all fields of one CPU, then those of the
   * next. The array is on a SharedArrayBuffer and stays the same from read to read, unless the last one has
   * `grown`.
   */
  get values(): Float64Array {
    return this.#values;
  }

  /** Whether the last read() found more rows than there was room for, and allocated new arrays. */
  get grown(): boolean {
    return this.#grown;
  }

  /**
   * Whether a value of the last read() was above 2^53 and is not exact; readBigInt() returns exact values.
   */
  get saturated(): boolean {
    return this.#status[0] !== 0;
  }

  /**
   * Refreshes `keys` and `values`, and returns the number of rows.
   *
   * @throws EbpfMapError if the kernel refuses; EbpfPermissionError on EPERM
   * @throws EbpfStateError after close(), and while a readAsync() is pending
   */
  read(): number {
    try {
      this.#readCounters(this.#number);
    } catch (error) {
      throw this.#failure(error);
    }
    this.#grown = false;
    const rows = this.#status[1] ?? 0;
    return rows >= 0 ? rows : this.#readMore();
  }

  /**
   * Does read() on the thread pool. No other read of this reader is allowed until it is done.
   *
   * @throws EbpfStateError if a readAsync() is pending; EbpfMapError if the kernel refuses
   */
  async readAsync(): Promise<number> {
    this.#grown = false;
    for (;;) {
      try {
        const rows = await this.#native.readAsync();
        if (rows >= 0) return rows;
      } catch (error) {
        throw this.#failure(error);
      }
      this.#grow();
    }
  }

  /**
   * Reads the map and returns the rows as 64-bit integers, signed fields in two's complement. The first call
   * allocates.
   */
  readBigInt(): BigUint64Array {
    const width = this.fields * this.cpus;
    const read = () => {
      if (this.#wide?.length !== this.#capacity * width) {
        this.#wide = new BigUint64Array(new SharedArrayBuffer(8 * this.#capacity * width));
      }
      return this.#native.readWide(this.#wide);
    };
    let rows: number;
    try {
      rows = read();
    } catch (error) {
      throw this.#failure(error);
    }
    this.#grown = false;
    if (rows < 0) rows = this.#growing(read);
    return (this.#wide ?? new BigUint64Array()).subarray(0, rows * width);
  }

  /**
   * Starts a thread that reads the map at an interval, even while this thread is busy.
   *
   * @throws EbpfNotSupportedError for a hash, whose rows differ from sample to sample
   * @example
   * using sampler = reader.sample({ intervalUs: 100 });
   * sampler.drain((timesUs, values, samples) => console.log(samples, timesUs[0]));
   */
  sample(options: SamplerOptions): MapSampler {
    if (!this.#map.type.endsWith('array')) {
      throw new EbpfNotSupportedError(`sample map ${this.#map.name}: a ${this.#map.type} has no fixed rows`, {
        feature: 'sampling of a hash',
        hint: 'call read() instead, or count in an array',
      });
    }
    const width = this.#capacity * this.fields * this.cpus;
    const sampler = new MapSampler(
      (native) => this.#native.sample(native),
      width,
      options,
      (closed) => this.#samplers.delete(closed),
      (error) => this.#failure(error),
    );
    this.#samplers.add(sampler);
    return sampler;
  }

  /** Closes the reader and its samplers. The map stays open. Closing twice is allowed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    for (const sampler of [...this.#samplers]) sampler.close();
    this.#native.close();
    this.#number = NOBODY;
    this.#map.forget(this);
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }

  #best(): { via: ReadPath; native: NativeReader } {
    const { type, flags } = this.#map;
    if (type === 'array' && (flags & MMAPABLE) !== 0) {
      const mapped = this.#attempt('mmap');
      if (mapped) return mapped;
    }
    if (type.endsWith('array') && !this.#perCpu && hasSnapshot(this.#map, this.#layout)) {
      const snapshot = this.#attempt('snapshot');
      if (snapshot) return snapshot;
    }
    const via = this.#map.native.hasBatch() ? 'batch' : 'lookup';
    return { via, native: this.#open(via) };
  }

  // If the kernel or the process's privileges do not allow this path, another one is tried.
  #attempt(via: ReadPath): { via: ReadPath; native: NativeReader } | undefined {
    try {
      return { via, native: this.#open(via) };
    } catch (error) {
      if (error instanceof EbpfError) return undefined;
      throw error;
    }
  }

  #open(via: ReadPath): NativeReader {
    this.#requirePath(via);
    const map = this.#map;
    const capacity = this.#capacity;
    const keys = new Uint8Array(new SharedArrayBuffer(capacity * map.keySize));
    const values = new Float64Array(new SharedArrayBuffer(8 * capacity * this.fields * this.cpus));
    const status = new Int32Array(new SharedArrayBuffer(8));
    if (map.type.endsWith('array')) {
      const indices = new Uint32Array(keys.buffer);
      for (let i = 0; i < indices.length; i++) indices[i] = i;
    }
    const options: NativeReaderOptions = {
      via,
      perCpu: this.#perCpu,
      capacity,
      keys,
      values,
      status,
      fields: Uint32Array.from(
        this.#layout.flatMap(({ offset, size, signed }) => [offset, size, signed ? 1 : 0]),
      ),
    };
    const native = this.#openWith(options);
    this.#keys = keys;
    this.#values = values;
    this.#status = status;
    return native;
  }

  #openWith(options: NativeReaderOptions): NativeReader {
    const map = this.#map;
    try {
      if (options.via !== 'snapshot') return map.native.reader(options);
      const { program, out, keyArea, close } = loadSnapshot(map, this.#layout, this.#capacity);
      try {
        return map.native.reader({ ...options, program, out, ...(keyArea === undefined ? {} : { keyArea }) });
      } finally {
        close(); // the reader has duplicated the descriptors
      }
    } catch (error) {
      throw this.#failure(error, `open a reader via ${options.via} of`);
    }
  }

  #requirePath(via: ReadPath): void {
    const { name, type, flags } = this.#map;
    const refuse = (why: string, minKernel?: string) => {
      throw new EbpfNotSupportedError(`read map ${name} via ${via}: ${why}`, {
        feature: `reader via ${via}`,
        minKernel,
        hint: 'leave out via: auto takes the fastest path that is available',
      });
    };
    if (via === 'mmap' && !(type === 'array' && flags & MMAPABLE)) {
      refuse('only an array created with BPF_F_MMAPABLE can be mapped');
    }
    if (via === 'snapshot' && this.#perCpu)
      refuse('a snapshot sums over CPUs, and perCpu asks for each of them');
    if (via === 'snapshot' && !hasSnapshot(this.#map, this.#layout)) {
      refuse(
        `a snapshot cannot hold ${this.#layout.length} fields of a ${type} map of ${this.#map.maxEntries} entries`,
      );
    }
    if (via === 'batch' && !this.#map.native.hasBatch()) {
      refuse(`this kernel has no batches for a ${type} map`, type === 'percpu_array' ? '5.13' : '5.6');
    }
  }

  // Not inlined in read(): a function that creates closures allocates a context for them at every call.
  #readMore(): number {
    return this.#growing(() => {
      this.#readCounters(this.#number);
      return this.#status[1] ?? 0;
    });
  }

  #growing(read: () => number): number {
    for (;;) {
      this.#grow();
      try {
        const rows = read();
        if (rows >= 0) return rows;
      } catch (error) {
        throw this.#failure(error);
      }
    }
  }

  #grow(): void {
    if (this.#closed) throw new EbpfStateError('the map reader is closed', { state: 'closed' });
    const old = this.#native;
    this.#capacity = Math.min(2 * this.#capacity, MOST_ROWS);
    this.#native = this.#open(this.via);
    this.#number = this.#native.number;
    old.close();
    this.#grown = true;
  }

  #failure(error: unknown, verb = 'read'): unknown {
    if (!isNativeFailure(error)) return error;
    if (error.code === 'ERR_EBPF_BUSY') {
      return new EbpfStateError('the map reader is busy: wait for readAsync()', { state: 'reading' });
    }
    if (error.code === 'ERR_EBPF_CLOSED') {
      return new EbpfStateError('the map reader is closed', { state: 'closed' });
    }
    return this.#map.failure(verb, error);
  }
}

function rowsFor(map: MapRef, capacity: number | undefined): number {
  if (map.type.endsWith('array')) return map.maxEntries;
  if (capacity === undefined) return Math.min(Math.max(map.maxEntries, 1), DEFAULT_CAPACITY);
  if (Number.isInteger(capacity) && capacity >= 1 && capacity <= MOST_ROWS) return capacity;
  throw new RangeError(`Expected an integer from 1 to ${MOST_ROWS} for capacity but received ${capacity}`);
}
