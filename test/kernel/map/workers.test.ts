import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { endChildren, LIBRARY, runModule } from '../../helpers/child.ts';
import { LONG } from '../../helpers/extent.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, untilGone } from '../../helpers/kernel.ts';
import { seedOf, xorshift } from '../../helpers/random.ts';

const WORKERS = LONG ? 500 : 100;
const LANES = 4;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['in_worker', 'source', 'sums']);
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

/** Endless; says the id of each map, and then what it is doing. */
const CYCLE = `
  import { parentPort, workerData } from 'node:worker_threads';
  const { BpfMap } = await import(workerData.library);
  for (;;) {
    const array = BpfMap.create({ name: 'in_worker', type: 'array', keySize: 4, valueSize: 16, maxEntries: 256, flags: workerData.flags });
    const hash = BpfMap.create({ name: 'in_worker', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 4096 });
    parentPort.postMessage([array.id, hash.id]);
    const keys = Uint32Array.from({ length: 4096 }, (_, i) => i);
    hash.setBatch(new Uint8Array(keys.buffer), new Uint8Array(8 * 4096), 4096);
    const readers = [array.reader(), hash.reader({ capacity: 16 }), hash.reader({ via: 'lookup' })];
    const sampler = readers[0].sample({ intervalUs: 20, rows: 8 });
    const slot = array.slot(3);
    const scan = hash.batch({ capacity: 100 });
    for (let i = 0; i < 5; i++) {
      slot.read();
      slot.write();
      const reading = readers[2].readAsync();
      if (readers[0].read() !== 256 || readers[1].read() !== 4096) throw new Error('rows are missing');
      if (!(scan.next() > 0)) throw new Error('rows of a scan are missing');
      sampler.drain(() => {});
      if ((await reading) !== 4096) throw new Error('rows are missing');
    }
    array.close();
    hash.close();
  }`;

interface Report {
  errors: string[];
  ids: number[];
  fds: number;
  threads: number;
}

test(`${WORKERS} workers that are terminated while they read leave nothing`, {
  timeout: 600_000,
}, async () => {
  const random = xorshift(seedOf('map workers'));
  const delays = Array.from({ length: WORKERS }, () => random(30_000) / 1000);
  const child = runModule(`
    const { readdirSync, readlinkSync } = await import('node:fs');
    const { Worker } = await import('node:worker_threads');
    const { setTimeout: sleep } = await import('node:timers/promises');
    const delays = ${JSON.stringify(delays)};
    const errors = [], ids = new Set();
    const bpf = () => readdirSync('/proc/self/fd').filter((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd).includes('bpf'); } catch { return false; }
    }).length;
    const threads = () => readdirSync('/proc/self/task').length;
    async function one(delay, i) {
      const worker = new Worker(${JSON.stringify(CYCLE)}, {
        eval: true,
        execArgv: ['--input-type=module'],
        workerData: { library: ${JSON.stringify(new URL('index.js', LIBRARY).href)}, flags: i % 2 ? 1024 : 0 },
      });
      const ended = new Promise((resolve) => {
        worker.on('error', (error) => { errors.push(String(error.stack)); resolve(); });
        worker.on('exit', resolve);
      });
      await Promise.race([ended, new Promise((resolve) => {
        worker.on('message', (made) => { for (const id of made) ids.add(id); resolve(); });
      })]);
      await sleep(delay);
      await worker.terminate();
    }
    const batch = async (from, to) => {
      let next = from;
      await Promise.all(Array.from({ length: ${LANES} }, async () => { while (next < to) { const i = next++; await one(delays[i], i); } }));
    };
    await batch(0, 10);
    const at = { fds: bpf(), threads: threads() };
    for (let i = 10; i < delays.length; i += 50) await batch(i, Math.min(i + 50, delays.length));
    console.log(JSON.stringify({ errors, ids: [...ids], fds: bpf() - at.fds, threads: threads() - at.threads }));
    await new Promise((resolve) => process.stdin.once('data', resolve));
    process.exit(0);`);
  const { errors, ids, fds, threads } = JSON.parse(await child.line()) as Report;
  expect(errors.slice(0, 2)).toEqual([]);
  expect(ids.length).toBeGreaterThanOrEqual(2 * WORKERS);
  expect({ fds, threads }).toEqual({ fds: 0, threads: 0 });
  await untilGone({ maps: ids });
  child.process.stdin?.write('\n');
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});
