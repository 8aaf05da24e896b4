// coverage.js FOLDER LEAST: reports the coverage of lib/ by all processes of a test run: vitest's own, the CLI, child processes and worker
// threads. Node writes V8's counts for each file of dist/ to FOLDER (NODE_V8_COVERAGE), and source maps lead
// from there to lib/. LEAST is the minimum percentage of lines and of branches.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mergeProcessCovs } from '@bcoe/v8-coverage';
import convert from 'ast-v8-to-istanbul';
import Table from 'cli-table3';
import coverage from 'istanbul-lib-coverage';
import { parseAstAsync } from 'vitest/node';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = `${root}dist/`;
const raw = process.argv[2];
const least = Number(process.argv[3]);

/** Merges the counts of all processes, for dist/ only: a file names every module of its process. */
function collect() {
  let merged = { result: [] };
  const prefix = pathToFileURL(dist).href;
  for (const file of readdirSync(raw)) {
    let read;
    try {
      read = JSON.parse(readFileSync(join(raw, file), 'utf8'));
    } catch {
      continue; // the process was killed while it wrote this file
    }
    merged = mergeProcessCovs([merged, { result: read.result.filter(({ url }) => url.startsWith(prefix)) }]);
  }
  return merged;
}

async function remap(counted) {
  const map = coverage.createCoverageMap();
  for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    // A file without a map was not compiled from lib/: the page's copy of uPlot.
    if (!name.endsWith('.js') || !existsSync(`${dist}${name}.map`)) continue;
    const url = pathToFileURL(dist + name).href;
    const code = readFileSync(dist + name, 'utf8');
    const sourceMap = JSON.parse(readFileSync(`${dist}${name}.map`, 'utf8'));
    sourceMap.sources = sourceMap.sources.map((source) => resolve(dirname(dist + name), source));
    map.merge(
      await convert({
        code,
        ast: await parseAstAsync(code),
        sourceMap,
        // Files that were never imported count too.
        coverage: counted.result.find((script) => script.url === url) ?? { url, functions: [] },
      }),
    );
  }
  return map;
}

function report(map) {
  const below = map
    .files()
    .map((file) => ({ file: map.fileCoverageFor(file), ...map.fileCoverageFor(file).toSummary().data }))
    .filter(({ lines, branches }) => Math.min(lines.pct, branches.pct) < 90)
    .sort((a, b) => a.branches.pct - b.branches.pct);
  const { lines, branches } = map.getCoverageSummary();
  const total = `coverage of lib/: ${percent(lines.pct)} of lines, ${percent(branches.pct)} of branches`;
  if (below.length === 0) return [total];
  const style = { compact: true, head: [], border: [] };
  const table = new Table({ head: ['below 90 %', 'lines', 'branches', 'never run'], style });
  for (const { file, lines, branches } of below) {
    const never = file.getUncoveredLines().map(Number);
    table.push([relative(root, file.path), percent(lines.pct), percent(branches.pct), ranges(never)]);
  }
  return [table.toString(), total];
}

/** Writes the first few numbers as ranges: 1, 2, 3, 7 as 1-3, 7. */
function ranges(numbers) {
  const words = numbers
    .filter((line) => !numbers.includes(line - 1))
    .map((first) => {
      let last = first;
      while (numbers.includes(last + 1)) last++;
      return first === last ? `${first}` : `${first}-${last}`;
    });
  return words.length > 8 ? `${words.slice(0, 8).join(', ')} …` : words.join(', ');
}

function percent(value) {
  return `${value.toFixed(1)} %`;
}

const map = await remap(collect());
mkdirSync(`${root}coverage`, { recursive: true });
writeFileSync(`${root}coverage/coverage-final.json`, JSON.stringify(map));
console.log(report(map).join('\n'));
const { lines, branches } = map.getCoverageSummary();
if (lines.pct < least || branches.pct < least) {
  console.log(`coverage of lib/ is below ${least} %`);
  process.exitCode = 1;
}
