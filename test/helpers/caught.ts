import { expect } from 'vitest';

/** What `work` throws; a test that expects an error fails where there is none. */
export function caught(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return expect.unreachable('nothing was thrown');
}

/** What `promise` is rejected with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.unreachable('the promise was fulfilled'),
    (error: unknown) => error,
  );
}
