import type { Action } from './action.ts';

/** When to act on a signal. Exactly one of `above` and `below`. */
export interface ControlRule {
  /** Not empty, and no other rule's of the loop. */
  name: string;
  /** One of the loop's. */
  signal: string;
  /** Judges the change per second of a signal that counts, in place of its value. */
  rate?: boolean;
  /** Raised where the value is greater. */
  above?: number;
  /** Raised where the value is less. */
  below?: number;
  /** How far back the value has to go for the rule to be cleared: what keeps it from flapping. Default: `above` or `below`. */
  clearAt?: number;
  /** For how long the value has to be so before it is raised, or before it is cleared. Default 0: at once. */
  forMs?: number;
  /** How long it stays raised at least, and how long cleared. Default 30,000. */
  cooldownMs?: number;
  /**
   * What is done when it is raised, one after the other, and taken back when it is cleared. Default: nothing but a
   * decision.
   */
  actions?: readonly Action[];
}

export type Verdict = 'raise' | 'clear' | undefined;

/** What a rule remembers from one value to the next. @internal */
export class RuleState {
  readonly rule: ControlRule;
  readonly #cooldownMs: number;
  readonly #forMs: number;
  #raised = false;
  /** Since when the value is what would change the state. */
  #since: number | undefined;
  #changedAt = Number.NEGATIVE_INFINITY;

  constructor(rule: ControlRule) {
    check(rule);
    this.rule = rule;
    this.#cooldownMs = rule.cooldownMs ?? 30_000;
    this.#forMs = rule.forMs ?? 0;
  }

  get raised(): boolean {
    return this.#raised;
  }

  /** What a value that was measured at `now` leads to. One that is no number changes nothing, and breaks no wait. */
  judge(value: number, now: number): Verdict {
    if (Number.isNaN(value)) return undefined;
    const wants = this.#raised ? this.#isWell(value) : this.#isBad(value);
    if (!wants) {
      this.#since = undefined;
      return undefined;
    }
    this.#since ??= now;
    if (now - this.#since < this.#forMs || now - this.#changedAt < this.#cooldownMs) return undefined;
    this.#raised = !this.#raised;
    this.#since = undefined;
    this.#changedAt = now;
    return this.#raised ? 'raise' : 'clear';
  }

  /** The limit that the value passed, for the log. */
  limit(verdict: 'raise' | 'clear'): string {
    const { above, below, clearAt } = this.rule;
    if (verdict === 'raise') return above === undefined ? `below ${below}` : `above ${above}`;
    return above === undefined ? `not below ${clearAt ?? below}` : `not above ${clearAt ?? above}`;
  }

  #isBad(value: number): boolean {
    const { above, below } = this.rule;
    return above === undefined ? value < (below ?? 0) : value > above;
  }

  #isWell(value: number): boolean {
    const { above, below, clearAt } = this.rule;
    return above === undefined ? value >= (clearAt ?? below ?? 0) : value <= (clearAt ?? above);
  }
}

function check({ name, signal, above, below, clearAt, forMs = 0, cooldownMs = 0 }: ControlRule): void {
  if (typeof name !== 'string' || name === '') throw new TypeError('Expected a name for a rule');
  const fail = (what: string, expected: string, received: unknown) => {
    throw new RangeError(`Expected ${expected} for ${what} of rule ${name} but received ${String(received)}`);
  };
  if (typeof signal !== 'string' || signal === '') throw new TypeError(`Expected a signal for rule ${name}`);
  if ((above === undefined) === (below === undefined)) {
    throw new TypeError(`Expected one of above and below for rule ${name}`);
  }
  for (const [what, number] of Object.entries({ above, below, clearAt })) {
    if (number !== undefined && !Number.isFinite(number)) fail(what, 'a number', number);
  }
  if (clearAt !== undefined && above !== undefined && clearAt > above)
    fail('clearAt', `at most ${above}`, clearAt);
  if (clearAt !== undefined && below !== undefined && clearAt < below)
    fail('clearAt', `at least ${below}`, clearAt);
  for (const [what, number] of Object.entries({ forMs, cooldownMs })) {
    if (!(number >= 0 && number < Number.POSITIVE_INFINITY)) fail(what, 'milliseconds from 0', number);
  }
}
