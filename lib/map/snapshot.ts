import type { NativeMap, NativeProgram } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { checkedInfo } from '../object-file/checked.ts';
import { encodeGlobals } from '../object-file/globals.ts';
import type { ObjectInfo } from '../object-file/inspect.ts';
import { readSourceSync, type SourceBytes } from '../object-file/source.ts';
import type { CounterField } from './fields.ts';
import type { MapRef } from './map-ref.ts';

// Loads bpf/snapshot.bpf.c for one map: the program that a MapReader runs with `via: 'snapshot'`.

const OBJECT = new URL('./bpf/snapshot.bpf.o', import.meta.url);
/** SNAPSHOT_FIELDS in bpf/snapshot.h. */
const MOST_FIELDS = 128;
/** BPF_MAX_LOOPS in linux/bpf_verifier.h: bpf_loop() does nothing if it is asked for more iterations. */
const MOST_LOOPS = 2 ** 23;

const PROGRAMS: Readonly<Record<string, string>> = {
  array: 'array',
  percpu_array: 'percpu_array',
  hash: 'hash',
  lru_hash: 'hash',
  percpu_hash: 'percpu_hash',
  lru_percpu_hash: 'percpu_hash',
};

export interface Snapshot {
  program: NativeProgram;
  /** The map that the program writes to, mapped into this process. */
  out: NativeMap;
  /** Number of bytes in a row before its sums; absent for an array. */
  keyArea?: number;
  close(): void;
}

export function hasSnapshot({ type, maxEntries }: MapRef, fields: readonly CounterField[]): boolean {
  const fits = !type.endsWith('array') || maxEntries <= MOST_LOOPS;
  return PROGRAMS[type] !== undefined && fields.length <= MOST_FIELDS && fits;
}

// The file is read and inspected once for all readers.
let file: { read: SourceBytes; info: ObjectInfo } | undefined;

/** Throws the error of native code if the kernel is older than 5.19 or the process lacks CAP_BPF. */
export function loadSnapshot(map: MapRef, fields: readonly CounterField[], capacity: number): Snapshot {
  if (!file) {
    const read = readSourceSync(OBJECT);
    file = { read, info: checkedInfo(read) };
  }
  const isArray = map.type.endsWith('array');
  const keyArea = isArray ? 0 : Math.ceil(map.keySize / 8) * 8;
  const globals = encodeGlobals('snapshot', file.info.globals, {
    rows: capacity,
    cpus: map.native.describe().cpus,
    field_count: fields.length,
    fields: packed(fields),
    key_size: map.keySize,
    plain_offset: fields[0]?.offset ?? 0,
    plain_count: isPlain(fields) ? fields.length : 0,
  });
  const object = native().loadObjectSync(file.read.bytes, 'snapshot', {
    verifierLog: false,
    globals,
    programs: [{ name: PROGRAMS[map.type] ?? '', load: true }],
    maps: [
      { name: 'source', reuse: map.native },
      { name: 'sums', maxEntries: capacity, valueSize: keyArea + 8 * fields.length },
    ],
  });
  const programs = object.programs();
  const maps = object.maps();
  const close = () => {
    for (const handle of [...programs, ...maps, object]) handle.close();
  };
  const [program] = programs;
  const out = maps.find((entry) => entry.describe().name === 'sums');
  if (program && out) return { program, out, ...(isArray ? {} : { keyArea }), close };
  close();
  throw new Error('snapshot.bpf.o lacks a program or map of bpf/snapshot.bpf.c');
}

// Whether the fields are up to four consecutive 64-bit words, which snapshot.bpf.c adds up without a loop.
function isPlain(fields: readonly CounterField[]): boolean {
  const first = fields[0]?.offset ?? 0;
  const inOrder = fields.every(({ offset, size }, i) => size === 8 && offset === first + 8 * i);
  return inOrder && fields.length <= 4;
}

function packed(fields: readonly CounterField[]): Uint8Array {
  const words = new Uint32Array(3 * MOST_FIELDS);
  fields.forEach(({ offset, size, signed }, i) => {
    words.set([offset, size, signed ? 1 : 0], 3 * i);
  });
  return new Uint8Array(words.buffer);
}
