import { describeFailure, EbpfMapError, EbpfStateError } from './errors.ts';
import { closedInTime, keepAlive, warnIfForgotten } from './lifetime.ts';
import { type NativeMap, native } from './native.ts';
import { byIdFailure, openId, openPin, pin, unpin } from './pin.ts';

export type Bytes = Uint8Array;
/** A map's key: its bytes, or a number where keys are 4 bytes wide. */
export type Key = Bytes | number;

/** The kernel's word for a map's type (`enum bpf_map_type`, in lower case). */
export type MapType =
  | 'hash'
  | 'array'
  | 'percpu_hash'
  | 'percpu_array'
  | 'lru_hash'
  | 'lru_percpu_hash'
  | 'lpm_trie'
  | 'queue'
  | 'stack'
  | 'bloom_filter'
  | 'array_of_maps'
  | 'hash_of_maps'
  | 'prog_array'
  | 'perf_event_array'
  | 'ringbuf'
  | 'user_ringbuf'
  | 'devmap'
  | 'devmap_hash'
  | 'cpumap'
  | 'xskmap'
  | 'sockmap'
  | 'sockhash'
  | 'cgroup_array'
  | 'stack_trace'
  | 'arena'
  | (string & {});

/** A map's shape: sizes in bytes. */
export interface MapSpec {
  name?: string;
  type: MapType;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags?: number;
  /** What a map of maps holds. */
  inner?: MapSpec;
}

export interface MapInfo extends MapSpec {
  id: number;
  frozen: boolean;
  /** What the kernel charges for it now. */
  memoryBytes: number;
  /** Whether the kernel knows the types of its keys and values. */
  btf: boolean;
}

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
  readonly name: string;
  readonly type: MapType;
  /** The kernel's number for it. */
  readonly id: number;
  readonly fd: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_* bits. */
  readonly flags: number;
  /** Bytes that one lookup writes: `valueSize`, or roundup(valueSize, 8) × possibleCpus() for per-CPU maps. */
  readonly slotSize: number;
  /** @internal */
  readonly native: NativeMap;
  readonly #pins: string[];
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
    this.#pins = pins;
    keepAlive(this, owner);
  }

  /** @internal */
  static wrap(nativeMap: NativeMap, owner: object): BpfMap {
    return new BpfMap(nativeMap, owner);
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
      warnIfForgotten(map, `the BPF map ${map.name}`);
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
   */
  static fromId(id: number): BpfMap {
    const handle = openId('map', id, () => native().mapById(id));
    const map = new BpfMap(handle, handle);
    warnIfForgotten(map, `the BPF map ${map.name}`);
    return map;
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
   * The value at `key`, `slotSize` bytes long, or undefined where there is none. Allocates; a loop wants getInto().
   *
   * @throws EbpfMapError what the kernel says for a map that has no lookup
   */
  get(key: Key): Bytes | undefined {
    const out = new Uint8Array(this.slotSize);
    return this.getInto(key, out) ? out : undefined;
  }

  /**
   * Reads the value at `key` into `out` and tells whether it was there. Per-CPU values follow one another, each rounded
   * up to 8 bytes.
   *
   * @throws RangeError where `out` is shorter than `slotSize` or `key` is not `keySize` bytes; before any system call
   * @example
   * const out = new Uint8Array(map.slotSize);
   * if (map.getInto(0, out)) console.log(new DataView(out.buffer).getBigUint64(0, true));
   */
  getInto(key: Key, out: Bytes): boolean {
    try {
      return this.native.getInto(key, out);
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  /** Every key, in the kernel's order. Keys that come or go meanwhile may be seen or missed; none is given twice. */
  *keys(): IterableIterator<Bytes> {
    let previous: Bytes | undefined;
    // A hash starts over when `previous` was deleted under the walk (kernel/bpf/hashtab.c, htab_map_get_next_key):
    // what was given is remembered, so that nothing comes twice and the walk ends.
    const seen = this.type.includes('array') ? undefined : new Set<string>();
    // Somebody who deletes and inserts faster than this walks could make it start over for ever.
    for (let steps = 2 * this.maxEntries + 1; steps > 0; steps--) {
      const key = new Uint8Array(this.keySize);
      if (!this.#nextKey(previous, key)) return;
      previous = key;
      if (seen) {
        const text = Buffer.from(key.buffer).toString('latin1');
        if (seen.has(text)) continue;
        seen.add(text);
      }
      yield key;
    }
  }

  /** Every key with its value. One that was deleted between the two is left out. */
  *entries(): IterableIterator<[Bytes, Bytes]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value) yield [key, value];
    }
  }

  [Symbol.iterator](): IterableIterator<[Bytes, Bytes]> {
    return this.entries();
  }

  /** The map as the kernel describes it now. */
  info(): MapInfo {
    try {
      return {
        ...this.native.info(),
        name: this.name,
      };
    } catch (error) {
      throw this.#failure('describe', error);
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

  /** Removes the names that this handle gave or was opened by, where they are still the map's. */
  unpin(): void {
    if (this.#closed) throw new EbpfStateError(`map ${this.name} is closed`, { state: 'closed' });
    for (let path = this.#pins.at(-1); path !== undefined; path = this.#pins.at(-1)) {
      unpin(path, 'map', this.id);
      this.#pins.pop();
    }
  }

  /** Gives the handle up. The map lives on while a program, a pin or another handle holds it. */
  close(): void {
    this.#closed = true;
    closedInTime(this);
    this.native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #nextKey(previous: Bytes | undefined, out: Bytes): boolean {
    try {
      return this.native.nextKey(previous, out);
    } catch (error) {
      throw this.#failure('walk', error);
    }
  }

  #failure(verb: string, error: unknown): EbpfMapError {
    const { words, log: _, ...options } = describeFailure(error, `map ${this.name}`);
    return new EbpfMapError(`${verb} map ${this.name} (${this.type}): ${words}`, {
      ...options,
      map: this.name,
    });
  }
}

const SHAPE = ['name', 'type', 'keySize', 'valueSize', 'maxEntries', 'flags'] as const;

/** Throws unless `map` has every member that `expect` names. The kernel keeps 15 characters of a name. @internal */
export function checkShape(what: string, map: BpfMap, expect: Partial<MapSpec>): void {
  const unknown = Object.keys(expect).find((member) => !(SHAPE as readonly string[]).includes(member));
  if (unknown !== undefined) {
    throw new TypeError(`Expected ${SHAPE.join(', ')} in a map's shape but received ${unknown}`);
  }
  const differing = SHAPE.filter((member) => {
    const wanted = member === 'name' ? expect.name?.slice(0, 15) : expect[member];
    return wanted !== undefined && wanted !== (member === 'name' ? map.name.slice(0, 15) : map[member]);
  });
  if (differing.length === 0) return;
  const list = differing.map((member) => `${member} is ${map[member]}, expected ${expect[member]}`);
  throw new EbpfMapError(`${what}: ${list.join('; ')}`, { code: 'ERR_EBPF_MAP_SPEC', map: map.name });
}
