import { expect } from 'vitest';
import type { World } from './world.ts';

/** How a process ends when it is told to, or is killed before. */
const ENDINGS = {
  'kill -9': { code: '', status: 'SIGKILL' },
  exit: { code: 'process.exit(0);', status: 0 },
  exception: { code: "throw new Error('on purpose');", status: 1 },
  'an empty event loop': { code: 'process.stdin.destroy();', status: 0 },
} as const;
export type Ending = keyof typeof ENDINGS;
/** Starts a process that does `work`, and ends it. */
export async function endedWith<T>(
  world: World,
  work: string,
  answer: string,
  ending: Ending,
  meanwhile: (answer: T) => unknown = () => {},
): Promise<T> {
  const { code, status } = ENDINGS[ending];
  const held = await world.holding<T>(work, answer, code);
  await meanwhile(held.answer);
  expect(await held.end(ending === 'kill -9' ? ending : undefined)).toBe(status);
  return held.answer;
}
