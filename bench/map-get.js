// One map lookup from Node against the same lookup in C, in turn: the ratio counts, since machines are shared and noisy.
//   npm run bench
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { loadObject } from '../dist/index.js';

const PAIRS = 61;
const LOOKUPS = 20_000;
const at = (path) => fileURLToPath(new URL(path, import.meta.url));

/** @param {readonly number[]} values */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

function nanoseconds(work) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < LOOKUPS; i++) work();
  return Number(process.hrtime.bigint() - start) / LOOKUPS;
}

async function compare(map, program) {
  const out = new Uint8Array(map.slotSize);
  const ways = [
    ['getInto', () => map.getInto(0, out)],
    ['get', () => map.get(0)],
  ];
  const child = spawn(program, [String(map.id)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout);
  const inC = async () => {
    child.stdin.write(`${LOOKUPS}\n`);
    return Number((await once(lines, 'line'))[0]);
  };
  for (const [, work] of ways) nanoseconds(work); // let the optimiser do its work first
  await inC();
  for (const [name, work] of ways) {
    const ratios = [];
    for (let i = 0; i < PAIRS; i++) ratios.push(nanoseconds(work) / (await inC()));
    const [low, high] = [Math.min(...ratios), Math.max(...ratios)];
    console.log(
      `${map.type} of ${map.slotSize} bytes, ${name}: ${median(ratios).toFixed(2)} × C (${low.toFixed(2)}–${high.toFixed(2)}, ${PAIRS} pairs)`,
    );
  }
  child.stdin.end();
  await once(child, 'close');
}

const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-bench-'));
const object = await loadObject(at('../dist/bpf/xdp_counter.bpf.o'));
try {
  const program = join(folder, 'map_get');
  const libbpf = at('../.cache');
  execFileSync('gcc', [
    ...['-O2', '-Wall', '-Wextra', '-Werror', at('c/map_get.c'), '-o', program],
    ...[`-I${libbpf}/libbpf/headers`, `${libbpf}/static/default/libbpf.a`],
  ]);
  await compare(object.map('packet_counters'), program);
} finally {
  object.close();
  rmSync(folder, { recursive: true });
}
