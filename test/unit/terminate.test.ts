import { afterEach, expect, test } from 'vitest';
import { endChildren, LIBRARY, runModule } from '../helpers/child.ts';
import { LONG } from '../helpers/extent.ts';

afterEach(endChildren);

/** Each is terminated one step later than the one before, over 40 ms. */
const WORKERS = LONG ? 40 : 20;

// validate() copies the bytes natively before it makes its promise: a terminate() often comes while it does, and from then
// on there are no promises to make.
const ASK = `
  import { parentPort, workerData } from 'node:worker_threads';
  const { validate } = await import(workerData);
  const bytes = new Uint8Array(2 ** 24);
  parentPort.postMessage('begins');
  for (;;) await validate(bytes);`;

test(`${WORKERS} workers that are terminated while they ask for promises take nobody with them`, async () => {
  const body = `
    const { Worker } = await import('node:worker_threads');
    const { setTimeout: sleep } = await import('node:timers/promises');
    for (let i = 0; i < ${WORKERS}; i++) {
      const worker = new Worker(${JSON.stringify(ASK)}, {
        eval: true,
        execArgv: ['--input-type=module'],
        workerData: ${JSON.stringify(new URL('index.js', LIBRARY).href)},
      });
      await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
      await sleep(${40 / WORKERS} * i);
      await worker.terminate();
    }
    process.exit(0);`;
  // Memory that nobody set is no null pointer.
  const child = runModule(body, { prefix: ['env', 'MALLOC_PERTURB_=165'] });
  expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
});
