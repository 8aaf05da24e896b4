// Reads of a whole hash of a million entries: the time against C, and the memory that a thousand reads leave
// in this process.
import { held } from './budgets.js';
import { filled, inC, reference } from './maps.js';
import { inJs, median, ratio, takeTurns } from './measure.js';

const NAME = '1M-entry HASH × u64';
const FLAT = 1 << 20;

function memory() {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

export const million = {
  name: NAME,
  async run({ quick, rounds, say }) {
    const { map, subject } = filled({ type: 'hash', maxEntries: 1_000_000, words: 1 });
    try {
      const reader = map.reader({ via: 'batch' });
      const read = inJs('node-ebpf', 'batch', () => reader.read());
      const [ours, theirs] = await takeTurns([read, inC('batch', subject)], rounds);
      const before = memory();
      const reads = quick ? 3 : 1000;
      for (let i = 0; i < reads; i++) reader.read();
      const grown = memory() - before;
      const against = ratio(ours, theirs);
      const row = {
        case: NAME,
        impl: 'node-ebpf',
        via: 'batch',
        against: 'C batch',
        ns: median(ours),
        ratio: against,
        garbageBytes: Math.max(0, Math.round(grown / reads)),
        rounds: ours.length,
        reads,
        budgets: [...held('batch', NAME, against.median), ...held('memory', NAME, grown < FLAT ? 0 : grown)],
      };
      say(row);
      return [row];
    } finally {
      reference.close(subject);
      map.close();
    }
  },
};
