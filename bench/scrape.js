// A scrape of 10,000 series from a map, against prom-client's own serialisation of as many counters.
import { Counter, Registry } from 'prom-client';
import { BpfMap } from '../dist/index.js';
import { EbpfMetrics } from '../dist/metrics/index.js';
import { held } from './budgets.js';
import { median, ratio } from './measure.js';

const NAME = 'scrape of 10,000 series';
const SERIES = 10_000;

function ours() {
  const map = BpfMap.create({
    name: 'scraped',
    type: 'hash',
    keySize: 4,
    valueSize: 8,
    maxEntries: 2 * SERIES,
  });
  const keys = Uint32Array.from({ length: SERIES }, (_, i) => i);
  const values = BigUint64Array.from({ length: SERIES }, (_, i) => BigInt(i) * 7919n);
  map.setBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), SERIES);
  const metrics = new EbpfMetrics();
  metrics.addMap(map, {
    metrics: [{ name: 'series_total', help: 'Series', type: 'counter' }],
    labels: { key: { at: 0, as: 'u32' } },
    maxSeries: 2 * SERIES,
  });
  return { scrape: () => metrics.scrape(), close: () => [metrics, map].forEach((one) => void one.close()) };
}

function theirs() {
  const registry = new Registry();
  const counter = new Counter({
    name: 'series_total',
    help: 'Series',
    labelNames: ['key'],
    registers: [registry],
  });
  for (let i = 0; i < SERIES; i++) counter.inc({ key: String(i) }, i * 7919);
  return { scrape: () => registry.metrics() };
}

async function timed(scrape) {
  const start = process.hrtime.bigint();
  const text = await scrape();
  const ns = Number(process.hrtime.bigint() - start);
  const series = text.match(/^series_total\{/gm)?.length;
  if (series !== SERIES) throw new Error(`a scrape has ${series} series`);
  return ns;
}

export const scrape = {
  name: NAME,
  async run({ quick, rounds, say }) {
    const [mine, other] = [ours(), theirs()];
    try {
      const times = { mine: [], other: [] };
      const turns = [
        async () => times.mine.push(await timed(mine.scrape)),
        async () => times.other.push(await timed(other.scrape)),
      ];
      for (let warm = 0; warm < (quick ? 1 : 5); warm++) for (const turn of turns) await turn();
      times.mine.length = times.other.length = 0;
      for (let round = 0; round < rounds; round++) for (const turn of turns.reverse()) await turn();
      const more = median(times.mine.map((ns, i) => (ns - times.other[i]) / 1e6));
      const row = {
        case: NAME,
        impl: 'node-ebpf',
        via: 'batch',
        against: 'prom-client',
        ns: median(times.mine),
        ratio: ratio(times.mine, times.other),
        garbageBytes: null,
        rounds,
        moreMs: more,
        budgets: held('scrape', NAME, more),
      };
      say(row);
      return [row];
    } finally {
      mine.close();
    }
  },
};
