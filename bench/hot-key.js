// Repeated reads of one key.
import { held } from './budgets.js';
import { filled, inC, reference } from './maps.js';
import { garbage, inJs, median, ratio, takeTurns } from './measure.js';

const NAME = 'one hot key of a PERCPU_ARRAY';

export const hotKey = {
  name: NAME,
  async run({ quick, rounds, say }) {
    const { map, subject } = filled({ type: 'percpu_array', maxEntries: 4, words: 2 });
    try {
      const slot = map.slot(0);
      const out = new Uint8Array(map.slotSize);
      const ways = [
        [inJs('node-ebpf', 'slot.read', () => slot.read()), 'slot'],
        [inJs('node-ebpf', 'getInto', () => map.getInto(0, out)), 'getInto'],
        [inJs('node-ebpf', 'get', () => map.get(0)), undefined],
      ];
      const lookup = inC('get', subject, 'lookup');
      const rows = [];
      for (const [way, budget] of ways) {
        const [ours, theirs] = await takeTurns([way, lookup], rounds);
        const against = ratio(ours, theirs);
        const garbageBytes = garbage(way.work, median(ours), quick);
        rows.push({
          case: NAME,
          impl: 'node-ebpf',
          via: way.via,
          against: 'C lookup',
          ns: median(ours),
          ratio: against,
          garbageBytes,
          rounds: ours.length,
          budgets: [
            ...(budget ? held(budget, NAME, against.median) : []),
            ...(budget === 'slot' ? held('garbage', NAME, garbageBytes) : []),
          ],
        });
        say(rows.at(-1));
      }
      return rows;
    } finally {
      reference.close(subject);
      map.close();
    }
  },
};
