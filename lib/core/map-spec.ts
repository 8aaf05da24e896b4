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
  /** At most 15 letters, digits, `_` and `.`: what the kernel keeps. */
  name?: string;
  /** Any that libbpf knows. */
  type: MapType;
  /** 0 for a queue, a stack, a bloom filter and a ring buffer. */
  keySize: number;
  /** Of one CPU. */
  valueSize: number;
  /** Of a ring buffer: its bytes. */
  maxEntries: number;
  /** MapFlags. */
  flags?: number;
  /** What a map of maps holds. */
  inner?: MapSpec;
}

/** A map's shape, and what the kernel says of it. */
export interface MapInfo extends MapSpec {
  /** The kernel's number for it, which BpfMap.fromId() takes. */
  id: number;
  /** Whether somebody froze it: no user space writes it any more. */
  frozen: boolean;
  /** What the kernel charges for it now. */
  memoryBytes: number;
  /** Whether the kernel knows the types of its keys and values. */
  btf: boolean;
}

/** Bits of a map's `flags`, as linux/bpf.h has them. */
export const MapFlags = {
  /** Memory for an entry when it is inserted, not when the map is made. An lpm_trie and local storage take no other. */
  NO_PREALLOC: 1 << 0,
  /** LRU hashes: a list for each CPU, not one for all; each evicts on its own. */
  NO_COMMON_LRU: 1 << 1,
  /** Memory on one NUMA node; create() names none, which is node 0. */
  NUMA_NODE: 1 << 2,
  /** User space only reads. */
  RDONLY: 1 << 3,
  /** User space only writes. */
  WRONLY: 1 << 4,
  /** Programs only read (kernel 5.2). */
  RDONLY_PROG: 1 << 7,
  /** Programs only write (kernel 5.2). */
  WRONLY_PROG: 1 << 8,
  /** Socket storage: a connection that is accepted inherits the listener's. */
  CLONE: 1 << 9,
  /** An array that memory() and a reader via `mmap` can map (kernel 5.5). */
  MMAPABLE: 1 << 10,
  /** An array whose number of entries may differ from that of the map of maps' `inner` (kernel 5.10). */
  INNER_MAP: 1 << 12,
} as const;
