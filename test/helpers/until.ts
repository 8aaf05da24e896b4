import { setTimeout as sleep } from 'node:timers/promises';
import { SLOWNESS } from './slowness.ts';

/**
 * Polls until `answer` returns something other than undefined, null or false, and returns that. Waiting is on
 * a condition, never on a clock: the deadline only ends a wait that will not succeed, with `describe()` as
 * the reason.
 */
export async function until<T>(
  answer: () => T | Promise<T>,
  describe: () => string = () => 'the condition did not come true',
  timeoutMs = 10_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = performance.now() + timeoutMs * SLOWNESS;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    const value = await answer();
    if (value !== undefined && value !== null && value !== false) {
      return value as NonNullable<Exclude<T, false>>;
    }
    if (performance.now() > deadline) throw new Error(`after ${timeoutMs * SLOWNESS} ms: ${describe()}`);
    await sleep(pause);
  }
}
