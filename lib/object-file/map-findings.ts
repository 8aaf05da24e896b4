import type { NativeMapSpec } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Finding } from '../core/finding.ts';
import type { ValidationLimits } from './limits.ts';
import { finding } from './rules.ts';

// The checks of the kernel when it creates a map: the map_alloc_check functions in kernel/bpf, 6.18.

type Sizes = readonly number[] | 'some' | 'any';

interface Shape {
  key: Sizes;
  value: Sizes;
  /** `some`: at least one; `none`: zero; `ring`: a power of two of pages. */
  entries: 'some' | 'none' | 'ring' | 'any';
  flag?: { bit: number; name: string };
}

// linux/bpf.h
const NO_PREALLOC = { bit: 1 << 0, name: 'BPF_F_NO_PREALLOC' };
const MMAPABLE = { bit: 1 << 10, name: 'BPF_F_MMAPABLE' };

const INDEX = [4];
const FD = [4];
const FD_OR_MORE = [4, 8];
const HASH: Shape = { key: 'some', value: 'some', entries: 'some' };
const ARRAY: Shape = { key: INDEX, value: 'some', entries: 'some' };
const FDS: Shape = { key: INDEX, value: FD, entries: 'some' };
const DEVICES: Shape = { key: INDEX, value: FD_OR_MORE, entries: 'some' };
const QUEUE: Shape = { key: [0], value: 'some', entries: 'some' };
const RING: Shape = { key: [0], value: [0], entries: 'ring' };
const STORAGE: Shape = { key: INDEX, value: 'some', entries: 'none', flag: NO_PREALLOC };
const CGROUP_STORAGE: Shape = { key: [8, 16], value: 'some', entries: 'none' };

const SHAPES: Readonly<Record<string, Shape>> = {
  hash: HASH,
  percpu_hash: HASH,
  lru_hash: HASH,
  lru_percpu_hash: HASH,
  lpm_trie: { ...HASH, flag: NO_PREALLOC },
  hash_of_maps: { ...HASH, value: FD },
  array: ARRAY,
  percpu_array: ARRAY,
  prog_array: FDS,
  cgroup_array: FDS,
  array_of_maps: FDS,
  xskmap: FDS,
  // libbpf sets the number of entries to the number of CPUs.
  perf_event_array: { ...FDS, entries: 'any' },
  devmap: DEVICES,
  devmap_hash: DEVICES,
  cpumap: DEVICES,
  sockmap: DEVICES,
  reuseport_sockarray: DEVICES,
  sockhash: { ...DEVICES, key: 'some' },
  queue: QUEUE,
  stack: QUEUE,
  bloom_filter: QUEUE,
  ringbuf: RING,
  user_ringbuf: RING,
  arena: { key: [0], value: [0], entries: 'some', flag: MMAPABLE },
  stack_trace: ARRAY,
  sk_storage: STORAGE,
  inode_storage: STORAGE,
  task_storage: STORAGE,
  cgrp_storage: STORAGE,
  cgroup_storage: CGROUP_STORAGE,
  percpu_cgroup_storage: CGROUP_STORAGE,
  // libbpf takes the sizes from the kernel's struct.
  struct_ops: { key: 'any', value: 'any', entries: 'any' },
};

// PCPU_MIN_UNIT_SIZE in include/linux/percpu.h
const PER_CPU_MOST = 32 * 1024;
// sizeof(struct bpf_lpm_trie_key) and a prefix of 1 to 256 bytes: kernel/bpf/lpm_trie.c
const LPM_KEY = { least: 5, most: 260 };
// libbpf rounds to the page size of the machine. This is the smallest page size in use.
const PAGE = 4096;
const NAME_LENGTH = 15; // BPF_OBJ_NAME_LEN without its NUL

/** Findings for the maps of an object. */
export function mapFindings(
  file: string,
  maps: readonly NativeMapSpec[],
  limits: ValidationLimits,
): Finding[] {
  return [
    ...maps.flatMap((map) => [
      ...shapeFindings(`${file}, map ${map.name}`, map),
      ...limitFindings(`${file}, map ${map.name}`, map, limits),
    ]),
    ...nameFindings(file, 'map', maps),
  ];
}

function shapeFindings(place: string, map: NativeMapSpec): Finding[] {
  const shape = SHAPES[map.type];
  if (!shape) return [finding('map-type-unknown', place, `libbpf does not know the map type ${map.type}`)];
  const findings: Finding[] = [];
  const article = /^[aeiou]/.test(map.type) ? 'an' : 'a';
  const size = (what: 'key' | 'value', bytes: number, words: string) =>
    findings.push(
      finding(`map-${what}-size`, place, `${article} ${map.type} map takes ${words}, not ${bytes} bytes`),
    );

  const keyWords = sizeWords('key', shape.key);
  if (!fits(map.keySize, shape.key)) size('key', map.keySize, keyWords);
  else if (map.type === 'lpm_trie' && (map.keySize < LPM_KEY.least || map.keySize > LPM_KEY.most))
    size('key', map.keySize, `keys of ${LPM_KEY.least} to ${LPM_KEY.most} bytes`);

  if (!fits(map.valueSize, shape.value)) size('value', map.valueSize, sizeWords('value', shape.value));
  else if (map.type === 'stack_trace' && map.valueSize % 8 !== 0)
    size('value', map.valueSize, 'values of 8 bytes a frame');
  else if (isPerCpu(map.type) && map.valueSize > PER_CPU_MOST)
    size('value', map.valueSize, `values of at most ${PER_CPU_MOST} bytes`);

  const entries = entriesFault(map, shape);
  if (entries !== undefined)
    findings.push(finding('map-entries', place, `max_entries is ${map.maxEntries}: ${entries}`));
  const { declaredMaxEntries: declared } = map;
  if (shape.entries === 'ring' && declared !== undefined && declared > 0 && declared !== map.maxEntries) {
    const words = `max_entries is ${declared}; libbpf makes it ${map.maxEntries}`;
    findings.push(finding('map-ring-rounded', place, words));
  }
  if (shape.flag && (map.flags & shape.flag.bit) === 0)
    findings.push(finding('map-flags', place, `${article} ${map.type} map needs ${shape.flag.name}`));
  if (/_of_maps$/.test(map.type) && !map.inner)
    findings.push(finding('map-inner', place, 'the definition of its inner map is missing'));
  if (map.inner) findings.push(...shapeFindings(`${place}, inner map`, map.inner));
  return findings;
}

function fits(size: number, sizes: Sizes): boolean {
  if (sizes === 'any') return true;
  return sizes === 'some' ? size > 0 : sizes.includes(size);
}

function sizeWords(noun: string, sizes: Sizes): string {
  if (typeof sizes === 'string') return `a ${noun}`;
  return sizes[0] === 0 ? `no ${noun}` : `a ${noun} of ${sizes.join(' or ')} bytes`;
}

function entriesFault({ maxEntries }: NativeMapSpec, { entries }: Shape): string | undefined {
  switch (entries) {
    case 'some':
      return maxEntries > 0 ? undefined : 'it needs at least 1';
    case 'none':
      return maxEntries === 0
        ? undefined
        : 'it must be 0, as the map grows with the objects that it belongs to';
    case 'ring':
      return maxEntries >= PAGE && Number.isInteger(Math.log2(maxEntries))
        ? undefined
        : 'it needs a power of two of bytes that is a multiple of the page size';
    default:
      return undefined;
  }
}

function isPerCpu(type: string): boolean {
  return type.includes('percpu');
}

const roundUp = (bytes: number): number => Math.ceil(bytes / 8) * 8;

/** Number of bytes that the entries of a full map take, without the kernel's overhead. */
function fullBytes({ type, keySize, valueSize, maxEntries }: NativeMapSpec): number {
  const shape = SHAPES[type];
  if (shape?.entries === 'ring') return maxEntries;
  if (type === 'arena') return maxEntries * PAGE;
  const copies = isPerCpu(type) ? native().possibleCpus() : 1;
  const key = shape?.key === INDEX ? 0 : roundUp(keySize);
  return maxEntries * (key + roundUp(valueSize) * copies);
}

function limitFindings(place: string, map: NativeMapSpec, limits: ValidationLimits): Finding[] {
  const findings: Finding[] = [];
  if (map.maxEntries > limits.maxEntries) {
    const words = `${map.maxEntries} entries, over the limit of ${limits.maxEntries}`;
    findings.push(finding('map-limit-entries', place, words));
  }
  const bytes = fullBytes(map);
  if (bytes > limits.mapBytes)
    findings.push(
      finding('map-limit-bytes', place, `${bytes} bytes when full, over the limit of ${limits.mapBytes}`),
    );
  return findings;
}

/** Findings for names that are the same, or become the same when the kernel cuts them. */
export function nameFindings(
  file: string,
  noun: 'program' | 'map',
  named: readonly { name: string; internal?: boolean }[],
): Finding[] {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  const cut = new Map<string, string>();
  for (const { name, internal } of named) {
    const place = `${file}, ${noun} ${name}`;
    const short = name.slice(0, NAME_LENGTH);
    const other = cut.get(short);
    // libbpf cuts the names of its own maps: .rodata.first and .rodata.second have the same name in the
    // kernel.
    if (seen.has(name) && !internal)
      findings.push(finding(`${noun}-name-duplicate`, place, `another ${noun} is called ${name}`));
    else if (other !== undefined)
      findings.push(
        finding(`${noun}-name-cut`, place, `the kernel calls both ${other} and ${name} ${short}`),
      );
    seen.add(name);
    cut.set(short, name);
  }
  return findings;
}
