// The time to an application's first number: whole processes, in turn with a node process that does nothing.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { held } from './budgets.js';
import { median, ratio, spread } from './measure.js';

const NAME = 'start of a process';
const path = (file) => fileURLToPath(new URL(file, import.meta.url));
const LIBRARY = new URL('../dist/index.js', import.meta.url).href;

const SCRIPTS = {
  'bare node': '',
  'addon load': `process.dlopen({ exports: {} }, ${JSON.stringify(path('../build/Release/node_ebpf.node'))});`,
  import: `await import(${JSON.stringify(LIBRARY)});`,
  'import → first counter read': `
    const { loadObjectSync } = await import(${JSON.stringify(LIBRARY)});
    const object = loadObjectSync(${JSON.stringify(path('../dist/bpf/xdp_counter.bpf.o'))});
    if (object.map('packet_counters').reader().read() === 0) process.exit(1);`,
};
const BUDGET = { 'addon load': 'addonLoad', 'import → first counter read': 'firstRead' };

function spawned(script) {
  const start = process.hrtime.bigint();
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const spent = Number(process.hrtime.bigint() - start);
  if (status !== 0) throw new Error(`a process of the start-up case exited with status ${status}`);
  return spent;
}

export const startUp = {
  name: NAME,
  async run({ rounds, say }) {
    const ways = Object.entries(SCRIPTS);
    const times = ways.map(() => /** @type {number[]} */ ([]));
    const order = [...ways.keys()];
    for (const i of order) spawned(ways[i][1]);
    for (let round = 0; round < rounds; round++) {
      for (const i of order) times[i].push(spawned(ways[i][1]));
      order.reverse();
    }
    const [bare] = times;
    return ways.slice(1).map(([via], i) => {
      const over = spread(times[i + 1].map((time, round) => (time - bare[round]) / 1e6));
      const budget = BUDGET[via];
      const row = {
        case: NAME,
        impl: 'node-ebpf',
        via,
        against: 'bare node',
        ns: median(times[i + 1]),
        ratio: ratio(times[i + 1], bare),
        garbageBytes: null,
        rounds,
        msOverBareNode: over,
        budgets: budget ? held(budget, NAME, over.median) : [],
      };
      say(row);
      return row;
    });
  },
};
