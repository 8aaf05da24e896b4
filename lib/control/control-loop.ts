import type { Action, ActionContext } from './action.ts';
import { type Clock, SYSTEM_CLOCK } from './clock.ts';
import { History } from './history.ts';
import { type ControlRule, RuleState } from './rule.ts';

/** Where values come from: named numbers, at each turn. */
export type ControlSource = () =>
  | Readonly<Record<string, number>>
  | Promise<Readonly<Record<string, number>>>;

/** What a loop watches, by which rules it acts, and how often. */
export interface ControlLoopOptions {
  /** Their names become part of the signals': the source `net` with `{ rx: 1 }` makes `net.rx`. */
  sources: Readonly<Record<string, ControlSource>>;
  /** Of different names. They are judged in this order. */
  rules: readonly ControlRule[];
  /** Decides and tells, and does nothing. Default true: false is said by who means it. */
  dryRun?: boolean;
  /** Between turns. Default 1,000. */
  intervalMs?: number;
  /** How many values of each signal are kept, and how many decisions. Default 600. */
  history?: number;
  /** Default: performance.now() and setInterval(). */
  clock?: Clock;
  /** Ends the loop. */
  signal?: AbortSignal;
}

/** What became of an action. */
export interface ActionOutcome {
  /** Its name. */
  action: string;
  /**
   * `planned`: the loop is in dry run. `applied` and `lifted`: done, and nothing says whether it is in force. `stays`: the
   * action has no `lift`.
   */
  outcome: 'planned' | 'applied' | 'lifted' | 'stays' | 'verified' | 'not in force' | 'failed';
  /** Where it failed. */
  error?: string;
}

/** That a rule was raised or cleared, and what was done. */
export interface Decision {
  /** When, in ISO 8601. */
  time: string;
  /** Its name. */
  rule: string;
  /** `raise`: its actions apply; `clear`: they are lifted. */
  verdict: 'raise' | 'clear';
  /** The one that the rule judges. */
  signal: string;
  /** That of the turn: of a rate, per second. */
  value: number;
  /** Whether the actions are only planned. */
  dryRun: boolean;
  /** One for each action of the rule, in their order. */
  actions: ActionOutcome[];
  /** One sentence, with the numbers. */
  reason: string;
}

interface Signal {
  values: History;
  rates: History;
  last?: { time: number; value: number };
  /** It got a value in this turn. */
  fresh: boolean;
}

/**
 * Watches numbers, and acts: Monitor (sources), Analyze (rules with hysteresis), Plan (what a rule does, and when it may),
 * Execute (actions, each verified), over Knowledge in memory that does not grow. In dry run, which is the default, it
 * decides and tells, and touches nothing.
 *
 * @example
 * using loop = new ControlLoop({
 *   sources: { guard: () => ({ packets: guard.totals().passed.packets }) },
 *   rules: [{ name: 'flood', signal: 'guard.packets', rate: true, above: 50_000, clearAt: 5_000, forMs: 2_000,
 *     actions: [guardAgainst(guard, ['203.0.113.0/24'])] }],
 *   dryRun: false,
 * });
 * loop.start();
 */
export class ControlLoop implements Disposable {
  /** Whether it decides and tells, and does nothing. */
  readonly dryRun: boolean;
  readonly #sources: [string, ControlSource][];
  readonly #rules: RuleState[];
  readonly #intervalMs: number;
  readonly #length: number;
  readonly #clock: Clock;
  readonly #signals = new Map<string, Signal>();
  readonly #decisions: Decision[] = [];
  readonly #errors: Record<string, number> = {};
  #stop: (() => void) | undefined;
  #turning: Promise<Decision[]> | undefined;

  constructor(options: ControlLoopOptions) {
    const {
      sources,
      rules,
      dryRun = true,
      intervalMs = 1000,
      history = 600,
      clock = SYSTEM_CLOCK,
      signal,
    } = options;
    if (typeof dryRun !== 'boolean')
      throw new TypeError(`Expected a boolean for dryRun but received ${typeof dryRun}`);
    if (!(intervalMs >= 1 && intervalMs < 2 ** 31)) {
      throw new RangeError(`Expected milliseconds from 1 for intervalMs but received ${String(intervalMs)}`);
    }
    if (!Number.isInteger(history) || history < 1) {
      throw new RangeError(`Expected a positive integer for history but received ${String(history)}`);
    }
    this.#sources = Object.entries(sources);
    this.#rules = rules.map((rule) => new RuleState(rule));
    const names = rules.map(({ name }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined)
      throw new TypeError(`Expected rules of different names but received two called ${twice}`);
    this.dryRun = dryRun;
    this.#intervalMs = intervalMs;
    this.#length = history;
    this.#clock = clock;
    signal?.throwIfAborted();
    signal?.addEventListener('abort', () => this.stop(), { once: true });
  }

  /** Begins to turn, at once and then at each interval. A second call changes nothing. */
  start(): void {
    if (this.#stop) return;
    this.#stop = this.#clock.every(this.#intervalMs, () => void this.turn());
    void this.turn();
  }

  /** Turns no more. What rules did stays as it is: lift() takes it back. Idempotent. */
  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  /** stop(), for `using`: what rules did stays as it is. */
  [Symbol.dispose](): void {
    this.stop();
  }

  /**
   * One turn: asks the sources, judges the rules, acts. While one is under way another call gives that one. It never rejects:
   * what a source or an action throws is counted and told.
   *
   * @returns what was decided
   */
  turn(): Promise<Decision[]> {
    this.#turning ??= this.#turn().finally(() => {
      this.#turning = undefined;
    });
    return this.#turning;
  }

  /** Takes back what raised rules did, whatever their signals say. */
  async lift(): Promise<void> {
    for (const { rule, raised } of this.#rules) {
      if (!raised || this.dryRun) continue;
      for (const action of rule.actions ?? []) {
        await this.#act(action, 'lift', { rule: rule.name, signal: rule.signal, value: Number.NaN });
      }
    }
  }

  /** The last decisions, the newest last. */
  decisions(): Decision[] {
    return [...this.#decisions];
  }

  /** The names of the rules that are raised now. */
  raised(): string[] {
    return this.#rules.filter(({ raised }) => raised).map(({ rule }) => rule.name);
  }

  /** The last values of a signal, the oldest first, or their rates; undefined where it never had one. */
  history(
    signal: string,
    rate = false,
  ):
    | {
        /** When each came: milliseconds of the loop's clock. */
        times: Float64Array;
        /** As many; of rates, per second. */
        values: Float64Array;
      }
    | undefined {
    const known = this.#signals.get(signal);
    return known && (rate ? known.rates : known.values).read();
  }

  /** What went wrong, by `source:NAME` and `action:NAME`. */
  errors(): Record<string, number> {
    return { ...this.#errors };
  }

  async #turn(): Promise<Decision[]> {
    for (const [name, source] of this.#sources) await this.#monitor(name, source);
    const made: Decision[] = [];
    for (const state of this.#rules) {
      const { signal, rate = false } = state.rule;
      const known = this.#signals.get(signal);
      const value = known ? (rate ? known.rates : known.values).last : Number.NaN;
      const verdict = known?.fresh ? state.judge(value, this.#clock.now()) : undefined;
      if (verdict) made.push(await this.#decide(state, verdict, value));
    }
    for (const signal of this.#signals.values()) signal.fresh = false;
    this.#decisions.push(...made);
    this.#decisions.splice(0, this.#decisions.length - this.#length);
    return made;
  }

  async #monitor(name: string, source: ControlSource): Promise<void> {
    let numbers: Readonly<Record<string, number>>;
    try {
      numbers = await source();
    } catch {
      this.#count(`source:${name}`);
      return;
    }
    const time = this.#clock.now();
    for (const [key, value] of Object.entries(numbers)) {
      if (typeof value !== 'number' || Number.isNaN(value)) continue;
      this.#take(`${name}.${key}`, time, value);
    }
  }

  #take(name: string, time: number, value: number): void {
    let signal = this.#signals.get(name);
    if (!signal) {
      signal = { values: new History(this.#length), rates: new History(this.#length), fresh: false };
      this.#signals.set(name, signal);
    }
    const { last } = signal;
    signal.values.push(time, value);
    // A counter that fell began again: what it has is what came since.
    if (last && time > last.time) {
      const grown = value >= last.value ? value - last.value : value;
      signal.rates.push(time, (1000 * grown) / (time - last.time));
    }
    signal.last = { time, value };
    signal.fresh = true;
  }

  async #decide(state: RuleState, verdict: 'raise' | 'clear', value: number): Promise<Decision> {
    const { name, signal, rate, forMs = 0, actions = [] } = state.rule;
    const context = { rule: name, signal, value };
    const outcomes: ActionOutcome[] = [];
    for (const action of actions) {
      outcomes.push(
        this.dryRun
          ? { action: action.name, outcome: 'planned' }
          : await this.#act(action, verdict === 'raise' ? 'apply' : 'lift', context),
      );
    }
    const unit = rate ? '/s' : '';
    const wait = forMs > 0 ? ` for ${forMs} ms` : '';
    const done = outcomes.map(
      ({ action, outcome, error }) => `${action}: ${outcome}${error ? ` (${error})` : ''}`,
    );
    return {
      time: new Date().toISOString(),
      rule: name,
      verdict,
      signal,
      value,
      dryRun: this.dryRun,
      actions: outcomes,
      reason: `${name} is ${verdict === 'raise' ? 'raised' : 'cleared'}: ${signal} is ${round(value)}${unit}, ${state.limit(verdict)}${unit}${wait}${done.length > 0 ? `; ${done.join('; ')}` : ''}`,
    };
  }

  async #act(action: Action, what: 'apply' | 'lift', context: ActionContext): Promise<ActionOutcome> {
    try {
      if (what === 'lift' && !action.lift) return { action: action.name, outcome: 'stays' };
      await action[what]?.(context);
      if (what === 'lift') return { action: action.name, outcome: 'lifted' };
      if (!action.verify) return { action: action.name, outcome: 'applied' };
      return { action: action.name, outcome: (await action.verify()) ? 'verified' : 'not in force' };
    } catch (error) {
      this.#count(`action:${action.name}`);
      return {
        action: action.name,
        outcome: 'failed',
        error: error instanceof Error ? error.message : String(error),
      };
    }
  }

  #count(what: string): void {
    this.#errors[what] = (this.#errors[what] ?? 0) + 1;
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
