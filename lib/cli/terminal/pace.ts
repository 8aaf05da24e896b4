import { setTimeout as sleep } from 'node:timers/promises';
import { stdoutLost } from './output.ts';

// When the commands that go on look again, and when they end.

/** Ticks after every full interval, and once at the end, whether that comes by time or by signal. */
export async function* ticks(
  intervalMs: number,
  seconds: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<void> {
  const start = performance.now();
  // Both from the start: sums with a clock's fractions round differently, and the last tick would come twice.
  const end = (seconds ?? Number.POSITIVE_INFINITY) * 1000;
  let next = 0;
  do {
    // From the start, not from the last tick: delays do not add up. An interval that was slept through is left out.
    const behind = Math.floor((performance.now() - start - next) / intervalMs);
    next = Math.min(next + intervalMs * (1 + Math.max(behind, 0)), end);
    await sleep(start + next - performance.now(), undefined, { signal }).catch(() => {});
    yield;
  } while (next < end && !signal.aborted);
}

/** Aborted by the first ^C, by SIGTERM, or when nobody reads the output. A second ^C is the system's: it ends at once. */
export function endOfRun(): { signal: AbortSignal; forget(): void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const asked = new AbortController();
  const ask = () => {
    forget();
    asked.abort();
  };
  const forget = () => {
    for (const name of signals) process.off(name, ask);
  };
  for (const name of signals) process.on(name, ask);
  return { signal: AbortSignal.any([asked.signal, stdoutLost]), forget };
}
