import type { NativeBatchResult, NativeMap } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Bytes, Key } from '../core/bytes.ts';
import { LITTLE_ENDIAN } from '../core/endian.ts';
import { describeFailure, EbpfStateError, errnoName } from '../core/errors.ts';
import { closedInTime, keepAlive, warnIfForgotten } from '../core/lifetime.ts';
import type { MapInfo, MapSpec, MapType } from '../core/map-spec.ts';
import { byIdFailure, openId } from '../handle/by-id.ts';
import { openPin, pin, unpin } from '../handle/pin.ts';
import type { BpfLink } from '../link/link.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { MapAccess, refuseBytes } from './access.ts';
import { type BatchOptions, BatchReader } from './batch.ts';
import { createMap } from './create.ts';
import { mapFailure, mapWords } from './failure.ts';
import { MapReader, type ReaderOptions } from './reader.ts';
import { checkShape } from './shape.ts';
import { MapSlot, type SlotOptions } from './slot.ts';
import { attachStructOps } from './struct-ops.ts';

/**
 * Returns the number of possible CPUs, which is the number of values in each per-CPU slot. It can be larger
 * than the number of CPUs online.
 *
 * @example
 * const perCpu = map.get(0).length / possibleCpus(); // one CPU's value, rounded up to 8 bytes
 */
export function possibleCpus(): number {
  return native().possibleCpus();
}

/**
 * A map in the kernel.
 *
 * @example
 * const counters = object.map('packet_counters');
 * const slot = counters.get(0); // Uint8Array of slotSize bytes
 */
export class BpfMap implements Disposable {
  /**
   * The name in the object file or in create(). A map opened by pin or id has the kernel's copy, cut at 15
   * characters.
   */
  readonly name: string;
  /** The kernel's name for the type: `hash`, `percpu_array`, … */
  readonly type: MapType;
  /** The id that the kernel gave the map. */
  readonly id: number;
  /** The file descriptor of this handle. After close() the number may belong to another file. */
  readonly fd: number;
  /** Size of a key in bytes. */
  readonly keySize: number;
  /** Size of one CPU's value in bytes. */
  readonly valueSize: number;
  /** Maximum number of entries; for a ring buffer, its size in bytes. */
  readonly maxEntries: number;
  /** The BPF_F_* flags the map was created with. */
  readonly flags: number;
  /**
   * Number of bytes that one lookup writes: `valueSize`, or roundup(valueSize, 8) × possibleCpus() for a
   * per-CPU map.
   */
  readonly slotSize: number;
  /** @internal */
  readonly native: NativeMap;
  readonly #pins: string[];
  readonly #readers = new Set<MapReader>();
  #access: MapAccess | undefined;
  #memory: ArrayBuffer | undefined;
  // A lookup in a bloom filter takes the value to look for, in place of a key.
  readonly #looksUpValues: boolean;
  // The links of the object that the map belongs to. A map without an object has no struct_ops to attach.
  #links: Set<BpfLink> | undefined;
  #closed = false;

  private constructor(nativeMap: NativeMap, owner: object, pins: string[] = []) {
    const shape = nativeMap.describe();
    this.name = shape.name;
    this.type = shape.type;
    this.id = shape.id;
    this.fd = shape.fd;
    this.keySize = shape.keySize;
    this.valueSize = shape.valueSize;
    this.maxEntries = shape.maxEntries;
    this.flags = shape.flags;
    this.slotSize = shape.slotSize;
    this.native = nativeMap;
    this.#looksUpValues = shape.type === 'bloom_filter';
    this.#pins = pins;
    keepAlive(this, owner);
  }

  /**
   * Creates a map. The kernel keeps it until close(), and longer while a program, a pin or another handle
   * holds it.
   *
   * @throws TypeError, RangeError if libbpf does not know the type, or the kernel cannot store a name or
   *   number
   * @throws EbpfMapError if the kernel refuses
   * @throws EbpfPermissionError without CAP_BPF
   * @example
   * using map = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 1024 });
   */
  static create(spec: MapSpec): BpfMap {
    return BpfMap.#owned(createMap(spec));
  }

  static #owned(handle: NativeMap, pins: string[] = []): BpfMap {
    const map = new BpfMap(handle, handle, pins);
    warnIfForgotten(map, `the BPF ${mapWords(map)}`);
    return map;
  }

  /** @internal */
  static wrap(nativeMap: NativeMap, owner: { links: Set<BpfLink> }): BpfMap {
    const map = new BpfMap(nativeMap, owner);
    map.#links = owner.links;
    return map;
  }

  /**
   * Opens a pinned map. If `expect` is given, the map must have the shape it describes.
   *
   * @throws EbpfMapError `ERR_EBPF_MAP_SPEC`, naming the members that differ
   * @throws EbpfError `ERR_EBPF_PIN_KIND` if the pin is not a map; ENOENT; `ERR_EBPF_NO_BPFFS`
   * @example
   * using map = BpfMap.fromPin('/sys/fs/bpf/counters', { type: 'percpu_array', valueSize: 16 });
   */
  static fromPin(path: string, expect: Partial<MapSpec> = {}): BpfMap {
    const { handle, path: full } = openPin(path, 'map');
    try {
      const map = new BpfMap(handle, handle, [full]);
      checkShape(`open the map that is pinned at ${full}`, map, expect);
      warnIfForgotten(map, `the BPF ${mapWords(map)}`);
      return map;
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  /**
   * Opens a map of any process by its id.
   *
   * @throws EbpfError ENOENT if there is no map with this id
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   * @example
   * const [largest] = BpfMap.list().sort((a, b) => b.memoryBytes - a.memoryBytes);
   * using map = BpfMap.fromId(largest.id);
   */
  static fromId(id: number): BpfMap {
    const handle = openId('map', id, () => native().mapById(id));
    return BpfMap.#owned(handle);
  }

  /**
   * Lists every map on this machine, including those of other processes.
   *
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static list(): MapInfo[] {
    try {
      return native().maps();
    } catch (error) {
      throw byIdFailure('list the maps', error);
    }
  }

  /**
   * Returns the value at `key`, `slotSize` bytes long, or undefined if the key is absent. Each call
   * allocates; use getInto() or slot() in a loop. With an empty key it returns the next element of a queue or
   * stack without removing it.
   *
   * @throws EbpfMapError if the map's type has no lookup
   */
  get(key: Key): Bytes | undefined {
    const access = this.#bound(key);
    try {
      return access.lookup() ? access.slot.slice() : undefined;
    } catch (error) {
      throw this.failure('read', error);
    }
  }

  /**
   * Reads the value at `key` into `out` and returns whether the key was present. Per-CPU values follow one
   * another, each rounded up to 8 bytes. For a bloom filter `out` holds the value to look for, and true means
   * that it may be present.
   *
   * @throws RangeError if `out` is shorter than `slotSize` or `key` is not `keySize` bytes long, before any
   *   system call
   * @example
   * const out = new Uint8Array(map.slotSize);
   * if (map.getInto(0, out)) console.log(new DataView(out.buffer).getBigUint64(0, true));
   */
  getInto(key: Key, out: Bytes): boolean {
    const access = this.#bound(key);
    if (!(out instanceof Uint8Array) || out.length < this.slotSize) refuseBytes('out', out, this.slotSize);
    if (this.#looksUpValues) access.slot.set(out.subarray(0, this.slotSize));
    try {
      if (!access.lookup()) return false;
    } catch (error) {
      throw this.failure('read', error);
    }
    out.set(access.slot);
    return true;
  }

  /**
   * Writes `value` at `key`. The value has `slotSize` bytes; for a map of maps or programs it may be a map or
   * program. Use an empty key for a queue, a stack or a bloom filter.
   *
   * @param flags 0; 1 (BPF_NOEXIST) if the key must be absent; 2 (BPF_EXIST) if it must be present
   *   (linux/bpf.h)
   * @throws EbpfMapError EEXIST or ENOENT, depending on `flags`; E2BIG if the map is full
   */
  set(key: Key, value: Bytes | BpfMap | ProgramRef, flags = 0): void {
    const access = this.#bound(key);
    if (value instanceof Uint8Array) {
      if (value.length !== this.slotSize) refuseBytes('value', value, this.slotSize);
      access.slot.set(value);
    } else {
      this.#putDescriptor(access.slot, value);
    }
    try {
      access.native.update(flags);
    } catch (error) {
      throw this.failure('write', error);
    }
  }

  #putDescriptor(slot: Bytes, value: BpfMap | ProgramRef): void {
    const holds = HOLDS[this.type];
    const fits = holds === 'map' ? value instanceof BpfMap : holds === 'program' && isProgram(value);
    if (!fits) {
      throw new TypeError(
        `Expected ${holds ? `a ${holds} or its` : 'a Uint8Array of'} ${this.slotSize} bytes for value`,
      );
    }
    const descriptor = openDescriptor(`the ${holds} ${value.name}`, value);
    new DataView(slot.buffer).setUint32(0, descriptor, LITTLE_ENDIAN);
  }

  /**
   * Removes `key` and returns whether it was present.
   *
   * @throws EbpfMapError EINVAL for an array, whose entries cannot be removed
   */
  delete(key: Key): boolean {
    const access = this.#bound(key);
    try {
      return access.native.remove();
    } catch (error) {
      throw this.failure('delete from', error);
    }
  }

  /**
   * Removes `key` and returns its value in one step: `slotSize` bytes, or undefined if the key is absent.
   * Hashes need kernel 5.14. With an empty key it takes the next element of a queue or stack.
   *
   * @throws EbpfMapError ENOTSUPP if the map's type does not support it, such as an array
   */
  take(key: Key): Bytes | undefined {
    const access = this.#bound(key);
    try {
      return access.native.take() ? access.slot.slice() : undefined;
    } catch (error) {
      throw this.failure('take from', error);
    }
  }

  /**
   * Returns a slot for a key that is read or written often: its memory is bound once.
   *
   * @param key the first key; a key of zeros by default
   * @throws TypeError if an option is invalid
   * @example
   * const slot = map.slot(2);
   * const counter = new BigUint64Array(slot.value.buffer);
   * if (slot.read()) console.log(counter[0]);
   */
  slot(key?: Key, { lock = false }: SlotOptions = {}): MapSlot {
    if (typeof lock !== 'boolean') {
      throw new TypeError(`Expected a boolean for lock but received ${typeof lock}`);
    }
    const access = this.#bind(SharedArrayBuffer, lock);
    if (key !== undefined) access.putKey(key);
    return new MapSlot(access, (verb, error) => this.failure(verb, error));
  }

  /**
   * Returns a reader that polls the whole map as numbers, summed over CPUs.
   *
   * @throws EbpfNotSupportedError if the map's type has no rows, or the map or kernel does not support `via`
   * @throws EbpfMapError `ERR_EBPF_NO_FIELD` if the value has no such field
   * @example
   * using reader = map.reader({ fields: ['packets', 'bytes'] });
   */
  reader(options: ReaderOptions = {}): MapReader {
    let reader: MapReader;
    try {
      reader = new MapReader(this, options);
    } catch (error) {
      throw this.failure('open a reader of', error);
    }
    this.#readers.add(reader);
    return reader;
  }

  /** @internal */
  forget(reader: MapReader): void {
    this.#readers.delete(reader);
  }

  /**
   * Returns a scan of the whole map as raw bytes, a batch of rows at a time.
   *
   * @throws RangeError if `capacity` is not an integer from 1 to 2^31 - 1
   */
  batch(options: BatchOptions = {}): BatchReader {
    return new BatchReader(this, options);
  }

  /**
   * Writes `count` entries, in one system call if the kernel has batches for the type (5.6).
   *
   * @param keys `count` × keySize bytes
   * @param values `count` × slotSize bytes
   * @param flags as for set(); any flag but 4 (BPF_F_LOCK) writes one entry per system call
   * @returns `count`
   * @throws RangeError if an array is shorter
   * @throws EbpfMapError if the kernel refuses an entry; the message says how many were written before it
   */
  setBatch(keys: Bytes, values: Bytes, count: number, flags = 0): number {
    return this.#batch(
      'write',
      count,
      () => this.native.updateBatch(keys, values, count, flags),
      (code) => code === 'EINVAL' && (flags & ~BPF_F_LOCK) !== 0,
      (i) => {
        const access = this.#bound(keys.subarray(i * this.keySize, (i + 1) * this.keySize));
        access.slot.set(values.subarray(i * this.slotSize, (i + 1) * this.slotSize));
        return access.native.update(flags);
      },
    );
  }

  /**
   * Removes `count` keys. Stops at the first key that is absent, as the kernel does.
   *
   * @param keys `count` × keySize bytes
   * @returns the number of keys removed
   * @throws RangeError if the array is shorter
   */
  deleteBatch(keys: Bytes, count: number): number {
    return this.#batch(
      'delete from',
      count,
      () => this.native.deleteBatch(keys, count),
      () => false,
      (i) => this.#bound(keys.subarray(i * this.keySize, (i + 1) * this.keySize)).native.remove(),
    );
  }

  // If the kernel has no batch for it (ENOTSUPP, or `refused` says so), each entry is one call of `one`,
  // which returns whether the key was present. The first absent key ends the batch.
  #batch(
    verb: string,
    count: number,
    whole: () => NativeBatchResult,
    refused: (code: string) => boolean,
    one: (index: number) => boolean,
  ): number {
    let result: NativeBatchResult;
    try {
      result = whole();
    } catch (error) {
      throw this.failure(verb, error);
    }
    const { failure } = result;
    if (failure === undefined) return result.count;
    const code = errnoName((failure as { errno?: number }).errno ?? 0);
    if (code === 'ENOENT' && verb !== 'write') return result.count;
    const stopped = (done: number) => `${verb} (${done} of ${count} are done)`;
    if (code !== 'ENOTSUPP' && !refused(code)) throw this.failure(stopped(result.count), failure);
    for (let i = 0; i < count; i++) {
      try {
        if (!one(i)) return i;
      } catch (error) {
        throw this.failure(stopped(i), error);
      }
    }
    return count;
  }

  /**
   * Returns the memory that the kernel and its programs see, of an array created with BPF_F_MMAPABLE or of an
   * arena. Values follow one another, each rounded up to 8 bytes. Every call returns the same buffer; close()
   * detaches it. Kernel 5.5.
   *
   * @throws EbpfMapError for any other map, and for a frozen one
   * @example
   * const counters = new BigUint64Array(map.memory()); // values of 8 bytes
   */
  memory(): ArrayBuffer {
    if (this.#closed) throw new EbpfStateError(`map ${this.name} is closed`, { state: 'closed' });
    try {
      this.#memory ??= this.native.memory();
      return this.#memory;
    } catch (error) {
      throw this.failure('map the memory of', error);
    }
  }

  /**
   * Registers the functions of a struct_ops map with the kernel, as BpfObject.attachAll() does. A struct in
   * SEC(".struct_ops.link") gets a link (kernel 6.4); one in SEC(".struct_ops") stays registered until
   * close(), detach() or the normal exit of the process.
   *
   * @throws EbpfAttachError `ERR_EBPF_MAP_TYPE`; EEXIST if the name is taken; EBUSY if it is registered
   *   already
   * @throws EbpfPermissionError naming the capabilities that the process lacks
   */
  attach(): BpfLink {
    return attachStructOps(this, this.#links);
  }

  /**
   * Makes the map read-only for user space, through every handle and for as long as it exists (kernel 5.2).
   * Programs can still write to it.
   */
  freeze(): void {
    try {
      this.native.freeze();
    } catch (error) {
      throw this.failure('freeze', error);
    }
  }

  /**
   * Iterates over the keys, each a copy of keySize bytes, in the kernel's order. Keys that are added or
   * removed during the iteration may be seen or missed; no key is returned twice.
   */
  *keys(): IterableIterator<Bytes> {
    let previous: Bytes | undefined;
    // A hash starts over if `previous` was deleted (kernel/bpf/hashtab.c, htab_map_get_next_key). The keys
    // that were returned are remembered, so that none is returned twice and the iteration ends.
    const seen = this.type.includes('array') ? undefined : new Set<string>();
    // A writer that deletes and inserts faster than this loop could make it start over for ever: the steps
    // are limited. Local storage has no maximum number of entries, and no limit.
    const most = this.maxEntries === 0 ? Number.POSITIVE_INFINITY : 2 * this.maxEntries + 1;
    for (let steps = most; steps > 0; steps--) {
      const key = this.#nextKey(previous);
      if (!key) return;
      previous = key;
      if (seen) {
        const text = Buffer.from(key.buffer).toString('latin1');
        if (seen.has(text)) continue;
        seen.add(text);
      }
      yield key;
    }
  }

  #nextKey(previous: Bytes | undefined): Bytes | undefined {
    const access = this.#bound(previous ?? new Uint8Array(this.keySize));
    try {
      return access.native.next(previous === undefined) ? access.key.slice() : undefined;
    } catch (error) {
      throw this.failure('walk', error);
    }
  }

  /** Counts the keys by iterating over them, at about 0.4 µs a key. @internal */
  countKeys(): number {
    try {
      return this.native.countKeys();
    } catch (error) {
      throw this.failure('walk', error);
    }
  }

  /**
   * Iterates over the keys and values, copies of keySize and slotSize bytes. A key that is deleted before its
   * value is read is left out.
   */
  *entries(): IterableIterator<[Bytes, Bytes]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value) yield [key, value];
    }
  }

  /** Same as entries(). */
  [Symbol.iterator](): IterableIterator<[Bytes, Bytes]> {
    return this.entries();
  }

  /**
   * Asks the kernel for the map's shape and state.
   *
   * @throws EbpfStateError after close()
   */
  info(): MapInfo {
    try {
      return {
        ...this.native.info(),
        name: this.name,
      };
    } catch (error) {
      throw this.failure('describe', error);
    }
  }

  /**
   * Pins the map in the BPF file system. The pin keeps it in the kernel after the process has ended.
   *
   * @throws EbpfError EEXIST if the path exists; `ERR_EBPF_PIN_NAME`; `ERR_EBPF_NO_BPFFS`
   * @example
   * object.map('packet_counters').pin('/sys/fs/bpf/packet_counters');
   */
  pin(path: string): void {
    this.#pins.push(pin(this.native, `map ${this.name}`, path));
  }

  /**
   * Removes the pins that this handle made or was opened by, if they still are this map's.
   *
   * @throws EbpfStateError after close()
   */
  unpin(): void {
    if (this.#closed) throw new EbpfStateError(`map ${this.name} is closed`, { state: 'closed' });
    for (let path = this.#pins.at(-1); path !== undefined; path = this.#pins.at(-1)) {
      unpin(path, 'map', this.id);
      this.#pins.pop();
    }
  }

  /**
   * Closes the handle, its readers and its slots. The map lives on while a program, a pin or another handle
   * holds it.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    for (const reader of [...this.#readers]) reader.close();
    if (this.#memory) native().detachBuffer(this.#memory);
    this.native.close();
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }

  // Memory that only this class sees, with `key` in it.
  #bound(key: Key): MapAccess {
    this.#access ??= this.#bind(ArrayBuffer);
    this.#access.putKey(key);
    return this.#access;
  }

  #bind(Memory: typeof ArrayBuffer | typeof SharedArrayBuffer, lock = false): MapAccess {
    try {
      return new MapAccess(this.native, this, Memory, lock);
    } catch (error) {
      throw this.failure('open', error);
    }
  }

  /** Turns an error of native code into a public one. @internal */
  failure(verb: string, error: unknown): unknown {
    return mapFailure(this, verb, error);
  }
}

// linux/bpf.h: the only flag that a batched update may have (generic_map_update_batch, kernel/bpf/syscall.c).
const BPF_F_LOCK = 4;

// What set() accepts in place of bytes, by the map's type.
const HOLDS: Readonly<Record<string, 'map' | 'program'>> = {
  array_of_maps: 'map',
  hash_of_maps: 'map',
  prog_array: 'program',
};

function isProgram(value: BpfMap | ProgramRef): boolean {
  return typeof value === 'object' && value !== null && 'tag' in value && 'native' in value;
}

// The descriptor of a closed handle may belong to another map by now.
function openDescriptor(what: string, { native }: BpfMap | ProgramRef): number {
  try {
    return native.describe().fd;
  } catch (error) {
    describeFailure(error, what); // throws if the handle is closed, the only way for this to fail
    throw error;
  }
}
