import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { BpfMap } from '../../../lib/map/map.ts';
import { loadObjectSync } from '../../../lib/object/object.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';

/** Keys that nobody touches; the program's are above 1,000,000, the other process's above 2,000,000. */
const STAYING = 2000;
const ROUNDS = 15;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['churn', 'churn_hash', 'churn_percpu', 'source', 'sums']);
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const rowOf = (map: BpfMap, key: number): Uint8Array => {
  const value = new Uint8Array(map.slotSize);
  new BigUint64Array(value.buffer).fill(BigInt(key));
  return value;
};

// Another process inserts and deletes, while this one reads; its system calls run the program.
async function churned(name: string, read: (map: BpfMap) => void): Promise<void> {
  const object = loadObjectSync(testObject('churn'));
  const link = object.program('churn').attach();
  const map = object.map(name);
  for (let key = 0; key < STAYING; key++) map.set(key, rowOf(map, key));
  const other = runModule(`
    const map = ebpf.BpfMap.fromId(${map.id});
    const value = new BigUint64Array(map.slotSize / 8);
    process.title = 'churner';
    console.log('begun');
    for (let i = 0; ; i = (i * 5 + 1) % 1024) {
      value.fill(BigInt(2_000_000 + i));
      map.set(2_000_000 + i, new Uint8Array(value.buffer));
      map.delete(2_000_000 + ((i * 7) % 1024));
    }`);
  try {
    expect(await other.line()).toBe('begun');
    for (let round = 0; round < ROUNDS; round++) read(map);
  } finally {
    other.process.kill('SIGKILL');
    await other.ended();
    link.detach();
    object.close();
  }
}

const known = (key: number) =>
  key < STAYING || (key >= 1_000_000 && key < 1_003_000) || (key >= 2_000_000 && key < 2_001_024);

/** No key that nobody wrote; none twice, and all that stayed, but where the kernel's walk is weaker than that. */
function whole(keys: Iterable<number>, { twice = false, missed = false } = {}): void {
  const seen = new Set<number>();
  let staying = 0;
  for (const key of keys) {
    if (!known(key)) throw new Error(`nobody wrote key ${key}`);
    if (seen.has(key) && !twice) throw new Error(`key ${key} is there twice`);
    if (key < STAYING && !seen.has(key)) staying++;
    seen.add(key);
  }
  if (!missed) expect(staying).toBe(STAYING);
}

describe.each(['churn_hash', 'churn_percpu'])('%s, full reads while it changes', (name) => {
  test.each(['batch', 'snapshot', 'lookup'] as const)('reader via %s', { timeout: 120_000 }, async (via) => {
    await churned(name, (map) => {
      using reader = map.reader({ via, fields: [0, 8] });
      const rows = reader.read();
      const keys = new Uint32Array(reader.keys.buffer, 0, rows);
      // bpf_for_each_map_elem() goes on from where its entry is: in another bucket, once that was deleted and used anew.
      whole(keys, { twice: via === 'snapshot', missed: via !== 'batch' });
      const cpus = map.slotSize / 16;
      for (let row = 0; row < rows; row++) {
        const key = keys[row] as number;
        // The kernel promises a whole row for keys that nobody writes; others may be half of another's.
        if (key >= STAYING) continue;
        expect([reader.values[2 * row], reader.values[2 * row + 1]]).toEqual([key * cpus, key * cpus]);
      }
    });
  });

  test('batch()', { timeout: 120_000 }, async () => {
    await churned(name, (map) => {
      using scan = map.batch({ capacity: 500 });
      const keys: number[] = [];
      for (let rows = scan.next(); rows > 0; rows = scan.next()) {
        for (let i = 0; i < rows; i++) {
          const key = new Uint32Array(scan.keys.buffer, 4 * i, 1)[0] as number;
          keys.push(key);
          const value = new BigUint64Array(scan.values.buffer, i * scan.valueStride, 2);
          if (key < STAYING) expect([...value]).toEqual([BigInt(key), BigInt(key)]);
        }
      }
      whole(keys);
    });
  });

  test('entries()', { timeout: 120_000 }, async () => {
    let left = 5;
    await churned(name, (map) => {
      if (left-- <= 0) return;
      const keys = [...map.entries()].map(([key]) => new Uint32Array(key.buffer)[0] as number);
      whole(keys, { missed: true }); // the walk starts over when its key is deleted, and ends in time
    });
  });
});
