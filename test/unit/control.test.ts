import { describe, expect, it } from 'vitest';
import { type Action, callback } from '../../lib/control/action.ts';
import type { Clock } from '../../lib/control/clock.ts';
import { ControlLoop } from '../../lib/control/control-loop.ts';
import type { ControlRule } from '../../lib/control/rule.ts';

/** Time that stands still until it is moved. */
class FakeClock implements Clock {
  time = 0;
  readonly timers = new Set<() => void>();
  now = () => this.time;
  every(_: number, f: () => void): () => void {
    this.timers.add(f);
    return () => this.timers.delete(f);
  }
}

function looping(rule: Partial<ControlRule>, options: object = {}) {
  const clock = new FakeClock();
  let value: number | Error | undefined = 0;
  const loop = new ControlLoop({
    sources: {
      a: () => {
        if (value instanceof Error) throw value;
        return value === undefined ? {} : { x: value };
      },
    },
    rules: [{ name: 'rule', signal: 'a.x', cooldownMs: 0, ...rule }],
    clock,
    dryRun: false,
    ...options,
  });
  const feed = async (...values: (number | Error | undefined)[]) => {
    const verdicts: string[] = [];
    for (const one of values) {
      value = one;
      for (const { verdict } of await loop.turn()) verdicts.push(`${clock.time}: ${verdict}`);
      clock.time += 1000;
    }
    return verdicts;
  };
  return { clock, loop, feed };
}

describe('rules', () => {
  it('are raised above, and cleared at another value: in between nothing changes', async () => {
    const { feed } = looping({ above: 10, clearAt: 5 });
    expect(await feed(10, 11, 9, 6, 10, 5, 6, 10, 11)).toEqual(['1000: raise', '5000: clear', '8000: raise']);
  });

  it('are raised below, too', async () => {
    const { feed } = looping({ below: 10, clearAt: 20 });
    expect(await feed(10, 9, 19, 20, 9)).toEqual(['1000: raise', '3000: clear', '4000: raise']);
  });

  it('wait for as long as they say, from the first value on that is bad', async () => {
    const { feed } = looping({ above: 10, forMs: 2000 });
    expect(await feed(11, 11, 9, 11, 11, 11, 9, 9, 11, 9, 9, 9)).toEqual(['5000: raise', '11000: clear']);
  });

  it('cool down after each change: an input that flaps is one decision', async () => {
    const { feed } = looping({ above: 10, cooldownMs: 5000 });
    expect(await feed(11, 9, 11, 9, 11, 9, 11, 9)).toEqual(['0: raise', '5000: clear']);
  });

  it('judge rates of counters, also of one that began again', async () => {
    const { feed, loop } = looping({ above: 100, rate: true });
    expect(await feed(1_000_000, 1_000_050, 1_000_200, 1_000_250, 70, 300)).toEqual([
      '2000: raise',
      '3000: clear',
      '5000: raise',
    ]);
    expect([...(loop.history('a.x', true)?.values ?? [])]).toEqual([50, 150, 50, 70, 230]);
  });

  it('take no value, NaN and an exception for nothing said', async () => {
    const { feed, loop } = looping({ above: 10, forMs: 1000 });
    expect(await feed(11, Number.NaN, undefined, new Error('no'), 11)).toEqual(['4000: raise']);
    expect(loop.errors()).toEqual({ 'source:a': 1 });
    expect(await feed(new Error('no'), undefined)).toEqual([]);
    expect(loop.raised()).toEqual(['rule']);
  });
});

describe('actions', () => {
  const recording = (log: string[], more: Partial<Action> = {}): Action => ({
    name: 'act',
    apply: ({ value }) => void log.push(`apply ${value}`),
    lift: () => void log.push('lift'),
    ...more,
  });

  it('are planned and not done in dry run, which is the default', async () => {
    const log: string[] = [];
    const { feed, loop } = looping({ above: 1, actions: [recording(log)] }, { dryRun: undefined });
    await feed(2, 0);
    expect(log).toEqual([]);
    expect(loop.dryRun).toBe(true);
    expect(loop.decisions()).toMatchObject([
      { verdict: 'raise', dryRun: true, actions: [{ action: 'act', outcome: 'planned' }] },
      { verdict: 'clear', dryRun: true, actions: [{ action: 'act', outcome: 'planned' }] },
    ]);
    await loop.lift();
    expect(log).toEqual([]);
  });

  it('are done, verified and taken back, and the reason has the numbers', async () => {
    const log: string[] = [];
    const { feed, loop } = looping({ above: 1, actions: [recording(log, { verify: () => true })] });
    await feed(2.5, 0);
    expect(log).toEqual(['apply 2.5', 'lift']);
    expect(loop.decisions().map(({ reason }) => reason)).toEqual([
      'rule is raised: a.x is 2.5, above 1; act: verified',
      'rule is cleared: a.x is 0, not above 1; act: lifted',
    ]);
  });

  it('that fail or are not in force are told, and the others are done', async () => {
    const log: string[] = [];
    const failing = callback('fail', () => Promise.reject(new Error('not today')));
    const idle = callback('idle', () => {}, { verify: () => false });
    const { feed, loop } = looping({ above: 1, actions: [failing, idle, recording(log)] });
    await feed(2);
    expect(loop.decisions()[0]?.actions).toEqual([
      { action: 'fail', outcome: 'failed', error: 'not today' },
      { action: 'idle', outcome: 'not in force' },
      { action: 'act', outcome: 'applied' },
    ]);
    expect(loop.errors()).toEqual({ 'action:fail': 1 });
    await loop.lift();
    expect(log).toEqual(['apply 2', 'lift']);
    await feed(0);
    expect(loop.decisions()[1]?.actions).toMatchObject([
      { outcome: 'stays' },
      { outcome: 'stays' },
      { outcome: 'lifted' },
    ]);
  });
});

describe('the loop', () => {
  it('keeps no more than it is told to', async () => {
    const { feed, loop } = looping({ above: 10 }, { history: 4 });
    await feed(...Array.from({ length: 20 }, (_, i) => (i % 2 ? 11 : 9)));
    expect(loop.decisions()).toHaveLength(4);
    expect([...(loop.history('a.x')?.values ?? [])]).toEqual([9, 11, 9, 11]);
    expect([...(loop.history('a.x')?.times ?? [])]).toEqual([16_000, 17_000, 18_000, 19_000]);
    expect(loop.history('none')).toBeUndefined();
  });

  it('turns by its clock from start() to stop(), abort or the end of its block', () => {
    const aborting = new AbortController();
    const { clock, loop } = looping({ above: 1 }, { signal: aborting.signal });
    loop.start();
    loop.start();
    expect(clock.timers.size).toBe(1);
    loop.stop();
    expect(clock.timers.size).toBe(0);
    loop.start();
    aborting.abort();
    expect(clock.timers.size).toBe(0);
    loop.start();
    loop[Symbol.dispose]();
    expect(clock.timers.size).toBe(0);
    expect(() => looping({ above: 1 }, { signal: aborting.signal })).toThrow(aborting.signal.reason);
  });

  it('makes one turn at a time', async () => {
    const { loop } = looping({ above: 1 });
    const [one, two] = [loop.turn(), loop.turn()];
    expect(one).toBe(two);
    await one;
  });

  it.each([
    [{ name: '' }, TypeError],
    [{ signal: '' }, TypeError],
    [{}, TypeError],
    [{ above: 1, below: 2 }, TypeError],
    [{ above: Number.NaN }, RangeError],
    [{ above: 1, clearAt: 2 }, RangeError],
    [{ below: 1, clearAt: 0 }, RangeError],
    [{ above: 1, forMs: -1 }, RangeError],
    [{ above: 1, cooldownMs: Number.NaN }, RangeError],
  ])('refuses the rule %o', (rule, error) => {
    expect(() => looping(rule)).toThrow(error);
  });

  it.each([
    [{ dryRun: 'no' }, TypeError],
    [{ intervalMs: 0 }, RangeError],
    [{ history: 0 }, RangeError],
    [
      {
        rules: [
          { name: 'a', signal: 'b', above: 1 },
          { name: 'a', signal: 'b', above: 1 },
        ],
      },
      TypeError,
    ],
  ])('refuses the options %o', (options, error) => {
    expect(() => looping({ above: 1 }, options)).toThrow(error);
  });
});
