// The sampler at 100 µs while this thread is busy, in turn with the same loop in C.
import { held } from './budgets.js';
import { filled, reference } from './maps.js';
import { median, spread } from './measure.js';

const NAME = 'sampler at 100 µs, JS thread blocked';
const INTERVAL_US = 100;
// At each end an interval may have begun whose sample is not there yet.
const ENDS = 2;

function block(seconds) {
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end);
}

/** Runs the library's sampler once; returns samples, misses, and intervals that neither accounts for. */
function sampled(reader, seconds) {
  const sampler = reader.sample({
    intervalUs: INTERVAL_US,
    rows: Math.ceil((seconds * 1.2e6) / INTERVAL_US),
  });
  try {
    let last = 0;
    // Counts the misses before the last row: the sampler's thread continues during the drain.
    const drain = () => {
      for (let samples = 0; ; ) {
        const missed = sampler.missed;
        const rows = sampler.drain((times, _, count) => (last = times[count - 1]));
        samples += rows;
        if (rows > 0 && sampler.missed === missed) return { samples, missed };
      }
    };
    const { missed: missedBefore } = drain();
    const first = last;
    block(seconds);
    const { samples, missed: missedAfter } = drain();
    const missed = missedAfter - missedBefore;
    const intervals = (last - first) / INTERVAL_US;
    const astray = Math.abs(samples + missed - intervals);
    return { samples, missed, unaccounted: astray <= ENDS ? 0 : Math.round(astray) };
  } finally {
    sampler.close();
  }
}

function sampledInC(subject, seconds) {
  reference.startSampling(subject, INTERVAL_US);
  block(seconds);
  const [samples, missed] = reference.stopSampling(subject);
  return { samples, missed };
}

export const sampler = {
  name: NAME,
  async run({ quick, say }) {
    const { map, subject } = filled({ type: 'percpu_array', maxEntries: 4, words: 2 });
    try {
      const reader = map.reader({ via: 'batch' });
      const [rounds, seconds] = quick ? [1, 0.2] : [5, 5];
      const ours = [];
      const theirs = [];
      for (let round = 0; round < rounds; round++) {
        ours.push(sampled(reader, seconds));
        theirs.push(sampledInC(subject, seconds));
      }
      const rate = ({ samples, missed }) => missed / (samples + missed);
      // If C missed none, count one miss, to have a ratio.
      const ratios = ours.map((mine, i) => rate(mine) / Math.max(rate(theirs[i]), 1 / theirs[i].samples));
      const against = spread(ratios);
      const unaccounted = Math.max(...ours.map((mine) => mine.unaccounted));
      const row = {
        case: NAME,
        impl: 'node-ebpf',
        via: 'missed',
        against: 'C missed',
        ns: INTERVAL_US * 1000,
        ratio: against,
        garbageBytes: null,
        rounds,
        missed: median(ours.map(rate)),
        missedInC: median(theirs.map(rate)),
        budgets: [...held('sampler', NAME, against.median), ...held('accounted', NAME, unaccounted)],
      };
      say(row);
      return [row];
    } finally {
      reference.close(subject);
      map.close();
    }
  },
};
