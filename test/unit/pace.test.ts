import { afterEach, expect, it, vi } from 'vitest';
import { ticks } from '../../lib/cli/terminal/pace.ts';
import { seedOf, xorshift } from '../helpers/random.ts';

afterEach(() => vi.restoreAllMocks());

it('ticks no more than twice in two intervals, whatever the clock says at the start', async () => {
  const random = xorshift(seedOf('pace'));
  const clock = performance.now.bind(performance);
  for (let i = 0; i < 100; i++) {
    // One to two digits fewer at each tick: a sum of two rounds differently from one.
    const start = 1 + random(2 ** 26) / 2 ** 26 + random(2 ** 26) / 2 ** 52;
    const from = clock();
    vi.spyOn(performance, 'now')
      .mockReturnValueOnce(start)
      .mockImplementation(() => start + clock() - from);
    let count = 0;
    for await (const _ of ticks(4, 0.008, new AbortController().signal)) count++;
    expect([1, 2], `from ${start} on`).toContain(count);
    vi.restoreAllMocks();
  }
});
