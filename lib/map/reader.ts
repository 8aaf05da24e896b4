import type { NativeReader, NativeReaderOptions } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Bytes } from '../core/bytes.ts';
import { EbpfError, EbpfNotSupportedError, EbpfStateError, isNativeFailure } from '../core/errors.ts';
import { closedInTime, keepAlive, warnIfForgotten } from '../core/lifetime.ts';
import { type CounterField, counterFields } from './fields.ts';
import type { MapRef } from './map-ref.ts';
import { MapSampler, type SamplerOptions } from './sampler.ts';
import { hasSnapshot, loadSnapshot } from './snapshot.ts';

/** How a reader reads: mapped memory, a program in the kernel, batches, or key by key. */
export type ReadPath = 'mmap' | 'snapshot' | 'batch' | 'lookup';

/** What of a map is read, and how. */
export interface ReaderOptions {
  /**
   * Which integers of a value, by offset (64 bits, unsigned) or by the name that BTF has for it: `packets`, `slots[3]`,
   * `ipv4.bytes`. Default: every 64-bit word of the value.
   */
  fields?: readonly (number | string)[];
  /** One number for each possible CPU, instead of their sum. */
  perCpu?: boolean;
  /**
   * Default `auto`: mapped memory where the map has it, then a snapshot for arrays (kernel 5.19), then batches (5.6), then
   * key by key. A snapshot of a hash is only taken on request: under churn it may miss keys that are there throughout, and give
   * some twice.
   */
  via?: 'auto' | ReadPath;
  /** Rows to make room for. Default: the map's entries, at most a million. It grows when it has to. */
  capacity?: number;
}

/** A closed reader's number: another may have that which was its own. */
const NOBODY = 2 ** 30;
const MMAPABLE = 1 << 10; // BPF_F_MMAPABLE
const DEFAULT_CAPACITY = 2 ** 20;
const MOST_ROWS = 2 ** 31 - 1;

const TYPES: ReadonlySet<string> = new Set([
  ...['array', 'percpu_array', 'hash', 'percpu_hash', 'lru_hash', 'lru_percpu_hash', 'lpm_trie'],
]);

/**
 * Reads a whole map of counters in one call, into arrays that stay the same: polling makes no garbage.
 *
 * @example
 * using reader = map.reader({ fields: ['packets', 'bytes'] });
 * for (let row = 0, rows = reader.read(); row < rows; row++) {
 *   console.log(reader.values[row * reader.fields], reader.values[row * reader.fields + 1]);
 * }
 */
export class MapReader implements Disposable {
  /** The path that was taken. */
  readonly via: ReadPath;
  /** Numbers in a row, for one CPU. */
  readonly fields: number;
  /** With `perCpu`, how many CPUs a row has numbers for; else 1. */
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
      throw new EbpfNotSupportedError(`read map ${map.name}: a ${map.type} map holds no rows of counters`, {
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

  /** Rows that the arrays have room for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** `capacity` × the map's keySize bytes: row i's key; of an array, its index. */
  get keys(): Bytes {
    return this.#keys;
  }

  /**
   * `capacity` × `fields` numbers (× `cpus`: all fields of one CPU, then those of the next). On a SharedArrayBuffer; the
   * same array at every read, unless that has `grown`.
   */
  get values(): Float64Array {
    return this.#values;
  }

  /** Whether the last read() found more rows than there was room for, and made new arrays. */
  get grown(): boolean {
    return this.#grown;
  }

  /** Whether a value of the last read() was above 2^53, and is not exact: readBigInt() has it. */
  get saturated(): boolean {
    return this.#status[0] !== 0;
  }

  /**
   * Refreshes `keys` and `values`, and gives the number of rows.
   *
   * @throws EbpfMapError what the kernel says; EbpfPermissionError where it says EPERM
   * @throws EbpfStateError after close(), and while readAsync() is at work
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
   * read() on the thread pool. Nothing else may be read until it is done.
   *
   * @throws EbpfStateError where one is at work already; EbpfMapError what the kernel says
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

  /** Reads again, and gives the rows as 64-bit integers; signed fields in two's complement. Allocates at the first call. */
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
   * Has a thread of its own read the map at an interval, whatever this thread does.
   *
   * @throws EbpfNotSupportedError for a hash: its rows are not the same ones from sample to sample
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

  /** Gives up what it holds, and stops its samplers. The map stays open. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    for (const sampler of [...this.#samplers]) sampler.close();
    this.#native.close();
    this.#number = NOBODY;
    this.#map.forget(this);
  }

  /** close(), for `using`. */
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

  // What this kernel cannot do, or this process may not, another path can.
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
      ...{ via, perCpu: this.#perCpu, capacity, keys, values, status },
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
        close(); // the reader has descriptors of its own
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
        hint: 'leave via to auto, which takes what there is',
      });
    };
    if (via === 'mmap' && !(type === 'array' && flags & MMAPABLE)) {
      refuse('only an array that was made with BPF_F_MMAPABLE has memory to map');
    }
    if (via === 'snapshot' && this.#perCpu) refuse('it sums over CPUs, and perCpu asks for each');
    if (via === 'snapshot' && !hasSnapshot(this.#map, this.#layout)) {
      refuse(
        `it is not for ${this.#layout.length} fields of a ${type} map of ${this.#map.maxEntries} entries`,
      );
    }
    if (via === 'batch' && !this.#map.native.hasBatch()) {
      refuse(`this kernel has no batches for a ${type} map`, type === 'percpu_array' ? '5.13' : '5.6');
    }
  }

  // Apart from read(): a function that makes closures makes a context for them at each call.
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
      return new EbpfStateError('the map reader is at work: wait for readAsync()', { state: 'reading' });
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
