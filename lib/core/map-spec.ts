/** A map type: the kernel's name (`enum bpf_map_type`), in lower case. */
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

/** A map's shape. Sizes are in bytes. */
export interface MapSpec {
  /** The map's name: at most 15 letters, digits, `_` and `.`. */
  name?: string;
  /** A type name known to libbpf. */
  type: MapType;
  /** Size of a key; 0 for a queue, a stack, a bloom filter and a ring buffer. */
  keySize: number;
  /** Size of a value; in a per-CPU map, of one CPU's value. */
  valueSize: number;
  /** Maximum number of entries; for a ring buffer, its size in bytes. */
  maxEntries: number;
  /** Bits of MapFlags. */
  flags?: number;
  /** The shape of the maps that a map of maps holds. */
  inner?: MapSpec;
}

/** A map's shape, and its state in the kernel. */
export interface MapInfo extends MapSpec {
  /** The map's id, which BpfMap.fromId() takes. */
  id: number;
  /** Whether the map is frozen: no process can write to it any more. */
  frozen: boolean;
  /** The memory that the kernel accounts to the map now, in bytes. */
  memoryBytes: number;
  /** Whether the kernel has BTF types of its keys and values. */
  btf: boolean;
}

/** Bits of a map's `flags` (linux/bpf.h). */
export const MapFlags = {
  /**
   * Allocates an entry when it is inserted, not when the map is created. An lpm_trie and local storage
   * require it.
   */
  NO_PREALLOC: 1 << 0,
  /** LRU hashes: one list per CPU instead of a common one. Each evicts on its own. */
  NO_COMMON_LRU: 1 << 1,
  /** Allocates the map on one NUMA node; create() passes none, which means node 0. */
  NUMA_NODE: 1 << 2,
  /** Processes can only read. */
  RDONLY: 1 << 3,
  /** Processes can only write. */
  WRONLY: 1 << 4,
  /** Programs can only read (kernel 5.2). */
  RDONLY_PROG: 1 << 7,
  /** Programs can only write (kernel 5.2). */
  WRONLY_PROG: 1 << 8,
  /** Socket storage: an accepted connection inherits the listener's. */
  CLONE: 1 << 9,
  /** An array that memory() and a reader via `mmap` can map into memory (kernel 5.5). */
  MMAPABLE: 1 << 10,
  /** An array that may have another number of entries than the `inner` of its map of maps (kernel 5.10). */
  INNER_MAP: 1 << 12,
} as const;
