// The budgets, worded as in the project's design. `most` is the largest figure allowed in a row: a ratio to C
// unless the words say otherwise.

/**
 * @typedef {object} Budget
 * @property {string} what
 * @property {string} words
 * @property {(caseName: string) => number | undefined} most
 */

const HASH = 'c: PERCPU_HASH 10k × 4 u64';
const AGAINST_BATCH = { a: 0.45, b: 0.1, c: 0.6, d: 0.45 };

/** @type {Record<string, Budget>} */
export const BUDGETS = {
  batch: {
    what: 'reader via batch',
    words: '≤ 1.05 × C batch (c, the hash: 1.07)',
    most: (name) => (name === HASH ? 1.07 : 1.05),
  },
  snapshot: { what: 'reader via snapshot', words: '≤ 1.10 × C snapshot', most: () => 1.1 },
  snapshotAgainstBatch: {
    what: 'reader via snapshot',
    words: 'against C batch ≤ 0.45 (a), 0.10 (b), 0.60 (c), 0.45 (d)',
    most: (name) => AGAINST_BATCH[name[0]],
  },
  mmap: {
    what: 'mapped memory, 1,024 counters summed or copied',
    words: '≤ 1.0 × C’s scalar loop',
    most: () => 1,
  },
  slot: { what: 'one hot key (slot)', words: '≤ 1.10 × C lookup', most: () => 1.1 },
  getInto: { what: 'one hot key, getInto', words: '≤ 1.20 × C lookup', most: () => 1.2 },
  garbage: {
    what: 'garbage on any read()',
    words: '0 bytes in steady state (over a million reads the heap stays flat)',
    most: () => 0,
  },
  sampler: {
    what: 'sampler at 100 µs with the JS thread blocked',
    words: 'missed ≤ 1.5 × those of the same loop in C in the same run',
    most: () => 1.5,
  },
  accounted: {
    what: 'sampler at 100 µs with the JS thread blocked',
    words: 'samples + missed = elapsed ÷ interval',
    most: () => 0,
  },
  firstRead: {
    what: 'import → first counter read of a loaded map',
    words: '≤ 30 ms over bare node',
    most: () => 30,
  },
  addonLoad: { what: 'addon load', words: '≤ 5 ms over bare node', most: () => 5 },
  overhead: {
    what: 'a bundled program at 50,000 events a second',
    words: '≤ 1 % of a CPU',
    most: () => 1,
  },
  scrape: {
    what: 'a scrape of 10,000 series',
    words: '≤ 50 ms more than prom-client’s own serialisation of them',
    most: () => 50,
  },
  memory: { what: '1M-entry map', words: 'memory of JS side flat', most: () => 0 },
};

/**
 * Checks a figure against a budget. Returns an empty array if the budget does not apply to the case.
 *
 * @param {string} name of BUDGETS
 * @param {string} caseName
 * @param {number} figure
 * @param {number} [byC] C's own figure by the same means in this run. If it is over the budget, the machine
 * is the cause, and the state is `out of reach` (docs/decisions/0009)
 */
export function held(name, caseName, figure, byC = 0) {
  const { what, words, most } = BUDGETS[name];
  const limit = most(caseName);
  if (limit === undefined) return [];
  const state = figure <= limit ? 'met' : byC > limit ? 'out of reach' : 'missed';
  return [{ what, words, limit, figure, byC, state }];
}

/** Returns the worst state of several budgets. */
export function worst(budgets) {
  return ['missed', 'out of reach', 'met'].find((state) => budgets.some((budget) => budget.state === state));
}
