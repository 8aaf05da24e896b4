// Reads of whole maps, summed over all CPUs: each of the library's ways against C by the same way and against
// C's batch.
import { held } from './budgets.js';
import { filled, inC, prepareSnapshot, reference } from './maps.js';
import { garbage, inJs, median, ratio, takeTurns } from './measure.js';

const PEER_ROUNDS = 9;

const SHAPES = {
  'a: PERCPU_ARRAY 4 × 2 u64': { type: 'percpu_array', maxEntries: 4, words: 2 },
  'b: PERCPU_ARRAY 256 × 2 u64': { type: 'percpu_array', maxEntries: 256, words: 2 },
  'c: PERCPU_HASH 10k × 4 u64': { type: 'percpu_hash', maxEntries: 10_000, words: 4 },
  'd: HASH 100k × u64': { type: 'hash', maxEntries: 100_000, words: 1 },
  'e: mmapable ARRAY 1,024 × u64': { type: 'array', maxEntries: 1024, words: 1, mmapable: true },
};

export const readOuts = Object.entries(SHAPES).map(([name, shape]) => ({
  name,
  run: (context) => readOut(name, shape, context),
}));

function sum(reader) {
  const rows = reader.read();
  let total = 0;
  for (let i = 0; i < rows * reader.fields; i++) total += reader.values[i];
  return total;
}

/** Refuses to compare contenders that read nothing or different totals. */
function agree(what, got, expected) {
  if (got !== expected || expected === 0)
    throw new Error(`${what} reads a total of ${got}, but C reads ${expected}`);
}

async function readOut(name, shape, { quick, rounds, peers, say }) {
  const { map, subject, mmapable } = filled(shape);
  /** @type {object[]} */
  const rows = [];
  try {
    prepareSnapshot(subject);
    const batch = inC('batch', subject);
    batch.run(1);
    const expected = reference.total(subject);
    for (const via of ['batch', 'snapshot', 'lookup', ...(mmapable ? ['mmap'] : [])]) {
      const reader = map.reader({ via });
      agree(`node-ebpf via ${via}`, sum(reader), expected);
      const ours = inJs('node-ebpf', via, () => reader.read());
      const others =
        via === 'mmap'
          ? [inC('mappedSum', subject, 'mmap, one sum'), inC('mappedCopy', subject, 'mmap, one copy'), batch]
          : [...(via === 'batch' ? [] : [inC(via, subject)]), batch];
      others[0].run(1);
      agree(`C via ${others[0].via}`, reference.total(subject), expected);
      const [mine, ...theirs] = await takeTurns([ours, ...others], rounds);
      const garbageBytes = garbage(ours.work, median(mine), quick);
      reader.close();
      others.forEach((other, i) => {
        const against = ratio(mine, theirs[i]);
        rows.push({
          case: name,
          impl: 'node-ebpf',
          via,
          against: `C ${other.via}`,
          ns: median(mine),
          ratio: against,
          garbageBytes,
          rounds: mine.length,
          budgets: [
            ...budgetsOf(via, other.via, name, against.median, () => ratio(theirs[0], theirs[i]).median),
            ...(i === 0 ? held('garbage', name, garbageBytes) : []),
          ],
        });
        say(rows.at(-1));
        if (other === batch) return;
        rows.push({
          case: name,
          impl: 'C',
          via: other.via,
          against: 'C batch',
          ns: median(theirs[i]),
          ratio: ratio(theirs[i], theirs[others.indexOf(batch)]),
          garbageBytes: null,
          rounds: mine.length,
          budgets: [],
        });
      });
    }
    for (const peer of peers) {
      const contender = await peer.reader(map, expected);
      if (!contender) continue;
      const turns = quick ? 1 : PEER_ROUNDS;
      const [theirs, ours] = await takeTurns([contender, batch], turns);
      rows.push({
        case: name,
        impl: contender.impl,
        via: contender.via,
        against: 'C batch',
        ns: median(theirs),
        ratio: ratio(theirs, ours),
        garbageBytes: null,
        rounds: theirs.length,
        budgets: [],
      });
      say(rows.at(-1));
      contender.close?.();
    }
  } finally {
    reference.close(subject);
    map.close();
  }
  return rows;
}

// `byC`: C's ratio by the same way, against the same contender.
function budgetsOf(via, against, name, figure, byC) {
  if (via === 'batch') return held('batch', name, figure);
  if (via === 'mmap' && against.startsWith('mmap')) return held('mmap', name, figure);
  if (via === 'snapshot' && against === 'snapshot') return held('snapshot', name, figure);
  if (via === 'snapshot') return held('snapshotAgainstBatch', name, figure, byC());
  return [];
}
