// Values with a lock of their own (struct bpf_spin_lock), which a program changes while they are read.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { type Child, runModule } from '../../helpers/child.ts';
import * as frames from '../../helpers/frames.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';

const NAMES = ['change_locked', 'locked_array', 'locked_hash'];
const WORDS = 512;

let before: Snapshot;
let object: BpfObject;
let child: Child;

beforeAll(async () => {
  before = snapshotIds(NAMES);
  object = await loadObject(testObject('locked'));
  object.map('locked_hash').set(1, new Uint8Array(object.map('locked_hash').valueSize));
  child = runModule(
    `const program = ebpf.BpfProgram.fromId(${object.program('change_locked').id});
     const data = Uint8Array.from(${JSON.stringify([...frames.udp4()])});
     let going = true;
     process.stdin.once('end', () => (going = false)).resume();
     console.log('ready');
     while (going) {
       program.run({ data, repeat: 2_000 });
       await new Promise(setImmediate);
     }
     program.close();`,
  );
  expect(await child.line()).toBe('ready');
});
afterAll(async () => {
  child.process.stdin?.end();
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
  object.close();
  await assertNothingLeft(before);
});

test.each(['locked_array', 'locked_hash'])('%s: a slot that takes the lock has the value whole', (name) => {
  const slot = object.map(name).slot(1, { lock: true });
  const words = new BigUint64Array(slot.value.buffer, 8, WORDS);
  const seen = new Set<bigint>();
  const deadline = Date.now() + 30_000;
  for (let reads = 0; reads < 20_000 || (seen.size <= 100 && Date.now() < deadline); reads++) {
    expect(slot.read()).toBe(true);
    const [first = 0n] = words;
    if (!words.every((word) => word === first)) expect([...new Set(words)]).toEqual([first]);
    seen.add(first);
  }
  // It did change meanwhile.
  expect(seen.size).toBeGreaterThan(100);
});

test('values without a lock cannot be copied under one', () => {
  using map = BpfMap.create({ type: 'array', keySize: 4, valueSize: 8, maxEntries: 2 });
  const slot = map.slot(1, { lock: true });
  expect(caught(() => slot.read())).toMatchObject({ name: 'EbpfMapError', code: 'EINVAL' });
  expect(() => map.slot(1, { lock: 1 as never })).toThrow(/Expected a boolean for lock but received number/);
});
