// Measuring: contenders take turns, and only the ratio within one turn counts.

const SLICE_NS = 1e6;
const WARM_UP_NS = 50e6;
// Fast cases run at least this long: with more rounds a disturbance has less weight.
const LEAST_NS = 1.5e9;
const MOST_ROUNDS = 5; // times the requested number

/**
 * @typedef {object} Contender
 * @property {string} impl the implementation: `node-ebpf`, `C`, `bpf`, …
 * @property {string} via the way it reads
 * @property {(loops: number) => number | Promise<number>} run runs the operation this many times and returns
 * nanoseconds per operation
 */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** @param {readonly number[]} values */
export function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * Makes a contender of a JavaScript function. Each gets its own loop, because V8 calls slower from a loop
 * shared by several functions.
 *
 * @param {string} impl
 * @param {string} via
 * @param {() => unknown} work
 * @returns {Contender & { work: () => unknown }}
 */
export function inJs(impl, via, work) {
  const loop = new Function(
    'work',
    `return (loops) => {
      const start = process.hrtime.bigint();
      for (let i = 0; i < loops; i++) work();
      return Number(process.hrtime.bigint() - start) / loops;
    }`,
  );
  return { impl, via, run: loop(work), work };
}

/** Warms up, then finds the number of loops for a slice, and its nanoseconds. @param {Contender} contender */
async function calibrate({ run }) {
  let each = await run(1);
  let loops = 1;
  for (let spent = each; spent < WARM_UP_NS; spent += each * loops) {
    loops = Math.max(1, Math.min(2 * loops, Math.round(SLICE_NS / each)));
    each = await run(loops);
  }
  const turn = Math.max(1, Math.round(SLICE_NS / each));
  return { turn, ns: turn * each };
}

/**
 * Runs the contenders in turn, alternating between both orders.
 *
 * @param {readonly Contender[]} contenders
 * @param {number} atLeast rounds
 * @returns {Promise<number[][]>} for each contender, the nanoseconds of each round
 */
export async function takeTurns(contenders, atLeast) {
  const slices = [];
  for (const contender of contenders) slices.push(await calibrate(contender));
  const each = slices.reduce((sum, { ns }) => sum + ns, 0);
  const rounds = Math.max(atLeast, Math.min(MOST_ROUNDS * atLeast, Math.round(LEAST_NS / each)));
  const times = contenders.map(() => /** @type {number[]} */ ([]));
  const order = [...contenders.keys()];
  for (let round = 0; round < rounds; round++) {
    for (const i of order) times[i].push(await contenders[i].run(slices[i].turn));
    order.reverse();
  }
  return times;
}

/** @param {readonly number[]} times @param {readonly number[]} of */
export function ratio(times, of) {
  return spread(times.map((time, round) => time / of[round]));
}

const collect = globalThis.gc;

function heap() {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external; // `external` counts the ArrayBuffers
}

function grown(work, times) {
  collect();
  const before = heap();
  for (let i = 0; i < times; i++) work();
  return heap() - before;
}

/**
 * Returns the bytes that one operation leaves to the garbage collector, from a run so short that nothing is
 * collected during it. If that gives zero, a run of a million operations (or of a second) confirms it.
 *
 * @param {() => unknown} work
 * @param {number} ns the approximate time of one operation
 * @param {boolean} quick
 */
export function garbage(work, ns, quick) {
  if (!collect) throw new Error('bench/run.js needs node --expose-gc: npm run bench');
  const few = Math.max(1, Math.min(1000, Math.round(3e8 / ns)));
  const idle = median(Array.from({ length: 9 }, () => grown(() => {}, few)));
  const each = median(Array.from({ length: quick ? 3 : 9 }, () => grown(work, few))) - idle;
  if (each / few >= 4) return Math.round(each / few);
  const many = Math.max(few, Math.min(1e6, Math.round((quick ? 1e8 : 3e9) / ns)));
  const long = median(Array.from({ length: 3 }, () => grown(work, many))) - idle;
  // Less than a word per operation cannot be an object per operation.
  return long / many < 1 && long < 65_536 ? 0 : Math.max(1, Math.round(long / many));
}
