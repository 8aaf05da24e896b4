import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'vitest';
import type { BpfLink } from '../../lib/link/link.ts';
import type { BpfProgram } from '../../lib/program/program.ts';
import { countedBy } from './tc.ts';
import type { World } from './world.ts';

const SWAPS = 200;
const FLOOD = 20_000;
const MOST = 200;

/**
 * Swaps two programs that count packets while a flood comes in, the first of which is attached: none may see a packet
 * that the other saw, and none may be seen by neither. `swap` gives the link that holds the place then.
 */
export async function swapUnderFlood(
  world: World,
  [one, two]: readonly [BpfProgram, BpfProgram],
  link: BpfLink,
  swap: (link: BpfLink, to: BpfProgram, from: BpfProgram) => BpfLink | undefined,
): Promise<void> {
  let holding = link;
  let swaps = 0;
  let sent = 0;
  const counts = () => [countedBy(one.id), countedBy(two.id)] as const;
  // However fast either of them is here: there is a flood until all the swaps are done, and both programs had a part.
  for (let floods = 0; floods < MOST && (swaps < SWAPS || Math.min(...counts()) === 0); floods++) {
    let flooding = true;
    const flood = world.send(FLOOD).finally(() => {
      flooding = false;
    });
    while (flooding) {
      const [from, to] = swaps++ % 2 === 0 ? [one, two] : [two, one];
      holding = swap(holding, to, from) ?? holding;
      await turn();
    }
    sent += await flood;
  }
  const [first, second] = counts();
  console.log(`${one.name}: ${swaps} swaps, ${sent} frames: ${first} + ${second}`);
  expect(swaps).toBeGreaterThanOrEqual(SWAPS);
  expect(first + second).toBe(sent);
  expect(Math.min(first, second)).toBeGreaterThan(0);
  expect(holding.state()).toBe('attached');
}
