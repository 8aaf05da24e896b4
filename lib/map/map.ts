import { endianness } from 'node:os';
import type { NativeBatchResult, NativeMap } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Bytes, Key } from '../core/bytes.ts';
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
 * How many CPUs this machine may ever have: the number of values in each per-CPU slot. Not the number online.
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
  /** As its object or create() has it; of one that came from a pin or an id, as the kernel keeps it: 15 characters. */
  readonly name: string;
  /** The kernel's word: `hash`, `percpu_array`, … */
  readonly type: MapType;
  /** The kernel's number for it. */
  readonly id: number;
  /** This handle's own descriptor; after close() the number may be another file's. */
  readonly fd: number;
  /** In bytes. */
  readonly keySize: number;
  /** In bytes, of one CPU. */
  readonly valueSize: number;
  /** Of a ring buffer: its bytes. */
  readonly maxEntries: number;
  /** BPF_F_* bits. */
  readonly flags: number;
  /** Bytes that one lookup writes: `valueSize`, or roundup(valueSize, 8) × possibleCpus() for per-CPU maps. */
  readonly slotSize: number;
  /** @internal */
  readonly native: NativeMap;
  readonly #pins: string[];
  readonly #readers = new Set<MapReader>();
  #access: MapAccess | undefined;
  #memory: ArrayBuffer | undefined;
  // A bloom filter is asked with a value.
  readonly #asks: boolean;
  // Of its object; a map of its own has no struct_ops to attach.
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
    this.#asks = shape.type === 'bloom_filter';
    this.#pins = pins;
    keepAlive(this, owner);
  }

  /**
   * Makes a map. It lives until close(), or as long as somebody else holds it.
   *
   * @throws TypeError, RangeError for a type that libbpf does not know, a name or a number that the kernel cannot keep
   * @throws EbpfMapError what the kernel says
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
   * Opens a pinned map. With `expect`, only if it has that shape.
   *
   * @throws EbpfMapError `ERR_EBPF_MAP_SPEC` saying which members differ
   * @throws EbpfError `ERR_EBPF_PIN_KIND` where something else is pinned there; ENOENT, `ERR_EBPF_NO_BPFFS`
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
   * A map of any process, by the kernel's number.
   *
   * @throws EbpfError ENOENT where there is none
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
   * Every map on this machine, whoever made it.
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
   * The value at `key`, `slotSize` bytes long, or undefined where there is none. Allocates; a loop wants getInto(), or a
   * slot(). A queue's and a stack's next element, without removing it, has an empty key.
   *
   * @throws EbpfMapError what the kernel says for a map that has no lookup
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
   * Reads the value at `key` into `out` and tells whether it was there. Per-CPU values follow one another, each rounded
   * up to 8 bytes. Of a bloom filter, `out` is what is asked for, and true means "perhaps".
   *
   * @throws RangeError where `out` is shorter than `slotSize` or `key` is not `keySize` bytes; before any system call
   * @example
   * const out = new Uint8Array(map.slotSize);
   * if (map.getInto(0, out)) console.log(new DataView(out.buffer).getBigUint64(0, true));
   */
  getInto(key: Key, out: Bytes): boolean {
    const access = this.#bound(key);
    if (!(out instanceof Uint8Array) || out.length < this.slotSize) refuseBytes('out', out, this.slotSize);
    if (this.#asks) access.slot.set(out.subarray(0, this.slotSize));
    try {
      if (!access.lookup()) return false;
    } catch (error) {
      throw this.failure('read', error);
    }
    out.set(access.slot);
    return true;
  }

  /**
   * Writes the value at `key`: `slotSize` bytes, or for a map of maps or programs the map or program. Into a queue, a
   * stack or a bloom filter it goes with an empty key.
   *
   * @param flags 0; 1: only where the key is absent; 2: only where it is there (linux/bpf.h, BPF_NOEXIST, BPF_EXIST)
   * @throws EbpfMapError EEXIST, ENOENT by the flags; E2BIG where the map is full
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
    new DataView(slot.buffer).setUint32(0, descriptor, endianness() === 'LE');
  }

  /**
   * Removes the value at `key`, and tells whether it was there.
   *
   * @throws EbpfMapError EINVAL for an array, which keeps its values
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
   * Removes the value at `key` and gives it, at once: `slotSize` bytes, or undefined where there is none. Hashes since kernel
   * 5.14; a queue's and a stack's next element has an empty key.
   *
   * @throws EbpfMapError ENOTSUPP for a type that has none of it, such as an array
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
   * One hot key, with memory of its own that is bound to it once.
   *
   * @param key where to begin; default: a key of zeros
   * @throws TypeError for an option that cannot be
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
   * A reader of the whole map, for polling: numbers, summed over CPUs.
   *
   * @throws EbpfNotSupportedError for a type that holds no rows, or a `via` that the map or the kernel does not have
   * @throws EbpfMapError `ERR_EBPF_NO_FIELD`
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
   * A scan of the whole map, some rows at a time: raw bytes.
   *
   * @throws RangeError for a `capacity` that is no integer from 1 to 2^31 - 1
   */
  batch(options: BatchOptions = {}): BatchReader {
    return new BatchReader(this, options);
  }

  /**
   * Writes many: `count` keys, one after the other, and as many slots. In one system call where the kernel can (5.6).
   *
   * @param keys `count` × keySize bytes
   * @param values `count` × slotSize bytes
   * @param flags as for set(); with others than 4 (BPF_F_LOCK) it goes one by one
   * @returns `count`
   * @throws RangeError where the arrays hold fewer
   * @throws EbpfMapError what the kernel says, and in the message how many were written before
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
   * Removes many. A key that is not there ends it, as the kernel has it.
   *
   * @param keys `count` × keySize bytes
   * @returns how many were removed
   * @throws RangeError where the array holds fewer
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

  // `one` tells whether there was something to do; where there was not, that is the end. What the kernel has no batch
  // for, by ENOTSUPP or `refused`, goes one by one.
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
   * The memory of an array that was made with BPF_F_MMAPABLE, or of an arena, as the kernel and its programs see it:
   * values follow one another, each rounded up to 8 bytes. The same buffer at every call; close() empties it. Kernel 5.5.
   *
   * @throws EbpfMapError for any other map, or one that is frozen
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
   * Registers a struct_ops map's functions with the kernel, as BpfObject.attachAll() does. A struct of
   * SEC(".struct_ops.link") has a link (kernel 6.4); one of SEC(".struct_ops") is registered until close(), detach() or
   * the orderly end of the process.
   *
   * @throws EbpfAttachError `ERR_EBPF_MAP_TYPE`; EEXIST where another one has the name; EBUSY where it is registered
   * @throws EbpfPermissionError naming what the process lacks
   */
  attach(): BpfLink {
    return attachStructOps(this, this.#links);
  }

  /** No user space writes it any more, not even through another handle (kernel 5.2). Programs still do. */
  freeze(): void {
    try {
      this.native.freeze();
    } catch (error) {
      throw this.failure('freeze', error);
    }
  }

  /** Every key, a copy of keySize bytes, in the kernel's order. Keys that come or go meanwhile may be seen or missed; none is given twice. */
  *keys(): IterableIterator<Bytes> {
    let previous: Bytes | undefined;
    // A hash starts over when `previous` was deleted under the walk (kernel/bpf/hashtab.c, htab_map_get_next_key):
    // what was given is remembered, so that nothing comes twice and the walk ends.
    const seen = this.type.includes('array') ? undefined : new Set<string>();
    // Somebody who deletes and inserts faster than this walks could make it start over for ever.
    // Local storage has no bound.
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

  /** How many keys there are, by walking them: some 0.4 µs each. @internal */
  countKeys(): number {
    try {
      return this.native.countKeys();
    } catch (error) {
      throw this.failure('walk', error);
    }
  }

  /** Every key with its value, copies of keySize and slotSize bytes. One that was deleted between the two is left out. */
  *entries(): IterableIterator<[Bytes, Bytes]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value) yield [key, value];
    }
  }

  /** entries(), for `for … of`. */
  [Symbol.iterator](): IterableIterator<[Bytes, Bytes]> {
    return this.entries();
  }

  /**
   * The map as the kernel describes it now.
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
   * Gives the map a name in the BPF file system, which keeps it in the kernel when nobody else does.
   *
   * @throws EbpfError EEXIST where the name is taken, `ERR_EBPF_PIN_NAME`, `ERR_EBPF_NO_BPFFS`
   * @example
   * object.map('packet_counters').pin('/sys/fs/bpf/packet_counters');
   */
  pin(path: string): void {
    this.#pins.push(pin(this.native, `map ${this.name}`, path));
  }

  /**
   * Removes the names that this handle gave or was opened by, where they are still the map's.
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

  /** Gives the handle up, with its readers and slots. The map lives on while a program, a pin or another handle holds it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closedInTime(this);
    for (const reader of [...this.#readers]) reader.close();
    if (this.#memory) native().detachBuffer(this.#memory);
    this.native.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  // The map's own memory, with `key` in it.
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

  /** What native code threw, as a public error. @internal */
  failure(verb: string, error: unknown): unknown {
    return mapFailure(this, verb, error);
  }
}

// linux/bpf.h: the one flag that an update in a batch may have (generic_map_update_batch, kernel/bpf/syscall.c).
const BPF_F_LOCK = 4;

// What set() takes besides bytes.
const HOLDS: Readonly<Record<string, 'map' | 'program'>> = {
  array_of_maps: 'map',
  hash_of_maps: 'map',
  prog_array: 'program',
};

function isProgram(value: BpfMap | ProgramRef): boolean {
  return typeof value === 'object' && value !== null && 'tag' in value && 'native' in value;
}

// The number of a closed handle may be another map's by now.
function openDescriptor(what: string, { native }: BpfMap | ProgramRef): number {
  try {
    return native.describe().fd;
  } catch (error) {
    throw describeFailure(error, what);
  }
}
