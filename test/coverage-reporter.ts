// Coverage of lib/ by everything that a run starts: vitest's own processes, the CLI, child processes and worker threads. Node
// writes down what V8 counted (NODE_V8_COVERAGE), per file of dist/, and the source maps lead from there to lib/.
//
// NODE_EBPF_COVERAGE is the least percentage of lines and of branches: scripts/test sets it for a run of everything.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mergeProcessCovs, type ProcessCov } from '@bcoe/v8-coverage';
import convert from 'ast-v8-to-istanbul';
import Table from 'cli-table3';
import coverage, { type CoverageMap } from 'istanbul-lib-coverage';
import { parseAstAsync, type Reporter } from 'vitest/node';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = `${root}dist/`;
const folder = `${root}coverage/`;
const raw = `${folder}v8/`;
const least = Number(process.env.NODE_EBPF_COVERAGE);

export default class CoverageReporter implements Reporter {
  onInit(): void {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(raw, { recursive: true });
    // Some tests' child processes are other users.
    chmodSync(raw, 0o1777);
    process.env.NODE_V8_COVERAGE = raw;
  }

  async onTestRunEnd(): Promise<void> {
    const map = await remap(collect());
    rmSync(raw, { recursive: true });
    writeFileSync(`${folder}coverage-final.json`, JSON.stringify(map));
    const lines = report(map);
    const { lines: line, branches } = map.getCoverageSummary();
    if (line.pct < least || branches.pct < least) {
      lines.push(`coverage of lib/ is below ${least} %`);
      process.exitCode = 1;
    }
    // Before the summary, whose line is the last.
    process.prependOnceListener('exit', () => console.log(`${lines.join('\n')}\n`));
  }
}

/** All processes' counts, of dist/ alone: a file names every module of its process. */
function collect(): ProcessCov {
  let merged: ProcessCov = { result: [] };
  const prefix = pathToFileURL(dist).href;
  for (const file of readdirSync(raw)) {
    let read: ProcessCov;
    try {
      read = JSON.parse(readFileSync(raw + file, 'utf8')) as ProcessCov;
    } catch {
      continue; // its process was killed while it wrote
    }
    merged = mergeProcessCovs([merged, { result: read.result.filter(({ url }) => url.startsWith(prefix)) }]);
  }
  return merged;
}

async function remap(counted: ProcessCov): Promise<CoverageMap> {
  const map = coverage.createCoverageMap();
  for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    // What has no map was not compiled from lib/: the page's copy of uPlot.
    if (!name.endsWith('.js') || !existsSync(`${dist}${name}.map`)) continue;
    const url = pathToFileURL(dist + name).href;
    const code = readFileSync(dist + name, 'utf8');
    const sourceMap = JSON.parse(readFileSync(`${dist}${name}.map`, 'utf8'));
    sourceMap.sources = sourceMap.sources.map((source: string) => resolve(dirname(dist + name), source));
    map.merge(
      await convert({
        code,
        ast: await parseAstAsync(code),
        sourceMap,
        // A file that nothing imported counts too.
        coverage: counted.result.find((script) => script.url === url) ?? { url, functions: [] },
      }),
    );
  }
  return map;
}

function report(map: CoverageMap): string[] {
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

/** 1, 2, 3, 7 as 1-3, 7: the first few. */
function ranges(numbers: readonly number[]): string {
  const words = numbers
    .filter((line) => !numbers.includes(line - 1))
    .map((first) => {
      let last = first;
      while (numbers.includes(last + 1)) last++;
      return first === last ? `${first}` : `${first}-${last}`;
    });
  return words.length > 8 ? `${words.slice(0, 8).join(', ')} …` : words.join(', ');
}

function percent(value: number): string {
  return `${value.toFixed(1)} %`;
}
