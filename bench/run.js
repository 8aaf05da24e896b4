// npm run bench [-- OPTION... FILTER...]: compares the library with C and others. They take turns, because
// machines are shared and noisy and only the ratio counts. A FILTER selects the cases whose names contain it.
//
//   --quick   few rounds: a trial run        --peers  cilium/ebpf and BCC too, if Debian's packages are installed
//   --check   exit 1 if a budget is missed   --docs   write the tables and the chart of all results to docs/
//   --list    print the names of the cases   --out F  file for results; default bench/results/latest.json, with --quick quick.json
//   --alone   compare with C only
//
// Cases that are not run keep their rows in the file of results.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { hotKey } from './hot-key.js';
import { million } from './million.js';
import { overhead } from './overhead.js';
import { findPeers } from './peers.js';
import { readOuts } from './read-outs.js';
import { line, markdown, results, writeDocs } from './report.js';
import { sampler } from './sampler.js';
import { scrape } from './scrape.js';
import { startUp } from './start-up.js';

const PAIRS = 61;
const QUICK_PAIRS = 3;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    alone: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});

const cases = [...readOuts, hotKey, startUp, sampler, million, scrape, ...overhead];
const chosen = cases.filter(
  ({ name }) =>
    positionals.length === 0 || positionals.some((part) => name.toLowerCase().includes(part.toLowerCase())),
);
if (chosen.length === 0)
  throw new Error(`no case matches ${positionals.join(', ')}: npm run bench -- --list prints the names`);
if (options.docs && (options.quick || options.alone))
  throw new Error('--docs cannot be combined with --quick or --alone');

if (options.list) {
  for (const { name } of chosen) console.log(name);
} else {
  const say = (text) => console.error(text);
  const needsPeers = !options.alone && chosen.some((one) => readOuts.includes(one));
  const context = {
    quick: options.quick,
    rounds: options.quick ? QUICK_PAIRS : PAIRS,
    peers: needsPeers ? await findPeers(options.peers, say) : [],
    say: (row) => say(line(row)),
  };
  const file = options.quick ? 'results/quick.json' : 'results/latest.json';
  const out = options.out ?? fileURLToPath(new URL(file, import.meta.url));
  mkdirSync(dirname(out), { recursive: true });
  let rows = existsSync(out) ? JSON.parse(readFileSync(out, 'utf8')).rows : [];
  const place = ({ case: name }) => cases.findIndex((one) => one.name === name);
  for (const one of chosen) {
    say(`\n${one.name}`);
    const measured = await one.run(context);
    rows = rows.filter(({ case: name }) => name !== one.name && cases.some((other) => other.name === name));
    rows = [...rows, ...measured].toSorted((a, b) => place(a) - place(b));
    // Saved after each case: an interruption keeps the finished ones.
    writeFileSync(out, `${JSON.stringify(results(rows, options.quick), undefined, 2)}\n`);
  }
  const now = rows.filter((row) => chosen.some(({ name }) => name === row.case));
  console.log(markdown(now));
  if (options.docs) writeDocs(rows);
  const missed = now.flatMap((row) => row.budgets.filter(({ state }) => state !== 'met'));
  if (options.check && missed.length > 0) process.exitCode = 1;
}
