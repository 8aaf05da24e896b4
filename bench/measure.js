// How everything is measured: contenders take turns, and what counts is the ratio inside one turn.

const SLICE_NS = 1e6;
const WARM_UP_NS = 50e6;
// What is quick takes this long all the same: more rounds, and a disturbance counts for less.
const LEAST_NS = 1.5e9;
const MOST_ROUNDS = 5; // times what was asked for

/**
 * @typedef {object} Contender
 * @property {string} impl who: `node-ebpf`, `C`, `bpf`, …
 * @property {string} via which way
 * @property {(loops: number) => number | Promise<number>} run does it so many times; nanoseconds each
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
 * JavaScript as a contender. The loop is made anew for each: one that several functions went through calls them slower.
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

/** How many times makes a slice, after a warm-up, and the nanoseconds of that. @param {Contender} contender */
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
 * Lets contenders take turns, in one order and then in the other.
 *
 * @param {readonly Contender[]} contenders
 * @param {number} atLeast rounds
 * @returns {Promise<number[][]>} of each contender, the nanoseconds of each round
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
  return heapUsed + external; // `external` has the ArrayBuffers
}

function grown(work, times) {
  collect();
  const before = heap();
  for (let i = 0; i < times; i++) work();
  return heap() - before;
}

/**
 * Bytes that one operation leaves to the collector. A run short enough that nothing is collected meanwhile says how many;
 * where that is none, a million operations (or a second of them) say so again.
 *
 * @param {() => unknown} work
 * @param {number} ns about how long it takes
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
  // Less than a word for each operation is no object for each.
  return long / many < 1 && long < 65_536 ? 0 : Math.max(1, Math.round(long / many));
}
