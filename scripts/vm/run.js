// npm run test:vm: runs the kernel tests on Debian's kernels, with this tree's build.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release as ownRelease } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { KERNELS, kernelFolder, partsOf } from './kernels.js';
import { runInGuest } from './machine.js';
import { fileLines, kernelReport, lineReader, merge, sum, summary } from './report.js';
import { selection } from './selection.js';
import { writeTable } from './table.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const CACHE = join(ROOT, '.cache', 'vm');
const REPORTS = join(CACHE, 'reports');
const USAGE = `npm run test:vm -- [KERNEL...] [OPTION...]
  KERNEL           ${KERNELS.map(({ name, suite }) => `${name} (${suite})`).join(', ')}; default: all.
                   own: this machine's kernel, without a guest
  --files FILE...  these test files instead of the selection
  --short          the selection of npm test
  --all            every kernel test
  --name PATTERN   only tests whose name matches
  --minutes N      time limit of one guest (40)
  --list           print what would run
  --docs           afterwards write the table of docs/kernel-support.md from the last report of each kernel
  -- COMMAND...    run this command in the guest instead of the tests`;

const PAGE = join(ROOT, 'docs', 'kernel-support.md');

/** This machine's kernel, which has a column in the table. */
const OWN = 'own';

/** Returns the known results of a kernel: the last run of each file. */
function known(kernel) {
  const file = join(REPORTS, `${kernel}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function keep(report) {
  mkdirSync(REPORTS, { recursive: true });
  const file = join(REPORTS, `${report.kernel}.json`);
  writeFileSync(file, `${JSON.stringify(merge(known(report.kernel), report), null, 1)}\n`);
}

function allKnown() {
  return [...KERNELS.map(({ name }) => name), OWN].map(known).filter((report) => report !== undefined);
}

/** An emulated processor is this many times slower; with KVM the limits are just generous. */
const SLOWNESS = 20;

function parse(argv) {
  const { values, tokens } = parseArgs({
    args: argv,
    strict: true,
    allowPositionals: true,
    tokens: true,
    options: {
      files: { type: 'boolean' },
      short: { type: 'boolean' },
      all: { type: 'boolean' },
      name: { type: 'string' },
      minutes: { type: 'string', default: '40' },
      list: { type: 'boolean' },
      docs: { type: 'boolean' },
      json: { type: 'string' },
      'with-parent': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const kernels = [];
  const files = [];
  const command = [];
  let into = kernels;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') into = command;
    else if (token.kind === 'option' && token.name === 'files') into = files;
    else if (token.kind === 'positional') into.push(token.value);
  }
  for (const name of kernels) {
    if (name !== OWN && !KERNELS.some((kernel) => kernel.name === name))
      throw new Error(`no kernel ${name}\n${USAGE}`);
  }
  for (const file of files) if (!existsSync(join(ROOT, file))) throw new Error(`no file ${file}\n${USAGE}`);
  if (!(Number(values.minutes) > 0))
    throw new Error(`Expected a number of minutes for --minutes but received ${values.minutes}\n${USAGE}`);
  const which = values.all ? 'all' : values.short ? 'short' : 'usual';
  return {
    ...values,
    kernels: kernels.length > 0 ? kernels : KERNELS.map(({ name }) => name),
    files: values.files ? files : selection(ROOT, which),
    command,
  };
}

/** The environment of the tests: that of npm test, without variables of this process or of another build. */
function environmentOf(slowness = SLOWNESS) {
  const { PATH = '', HOME = '/root', LANG = 'C.UTF-8' } = process.env;
  return { PATH, HOME, LANG, CI: '1', NODE_EBPF_TEST_SLOWNESS: `${slowness}` };
}

async function runHere({ command: [file, ...args], signal, out, err }) {
  const options = { cwd: ROOT, env: environmentOf(1), stdio: ['ignore', 'pipe', 'pipe'] };
  const child = spawn(file, args, options);
  signal.addEventListener('abort', () => child.kill());
  child.stdout.on('data', out);
  child.stderr.on('data', err);
  const [status, killed] = await once(child, 'close');
  if (killed) throw new Error(`vitest was ended by ${killed}`);
  return status;
}

/** Runs vitest on a kernel. The guest does not get this process's environment. */
function runOn(kernel, { command, minutes, ...rest }) {
  if (kernel === OWN) return runHere({ command, ...rest });
  const folder = kernelFolder(kernel, CACHE);
  // libbpf and bpftool read the kernel's configuration there.
  const first = ['sh', '-ec', 'cp "$0" "/boot/config-$(uname -r)"; exec "$@"', partsOf(folder).config];
  return runInGuest({
    kernel: folder,
    cache: CACHE,
    command: [...first, ...command],
    environment: environmentOf(),
    folder: ROOT,
    seconds: Number(minutes) * 60,
    ...rest,
  });
}

async function testOn(kernel, { files, name, minutes }, signal) {
  const release = kernel === OWN ? ownRelease() : partsOf(kernelFolder(kernel, CACHE)).release;
  const lines = [];
  const reader = lineReader(
    (line) => {
      lines.push(line);
      if (line.file !== undefined) console.log(fileLines(line));
    },
    (line) => console.log(`    | ${line}`),
  );
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'kernel', '--project', 'commands'];
  const reporter = '--reporter=./test/vm/guest-reporter.ts';
  const command = [process.execPath, ...vitest, reporter, ...(name ? ['-t', name] : []), ...files];
  console.log(`  ${kernel} (${release})`);
  const start = performance.now();
  let status;
  let failure;
  try {
    const err = (bytes) => process.stderr.write(bytes);
    status = await runOn(kernel, { command, minutes, signal, out: (bytes) => reader.push(bytes), err });
  } catch (error) {
    failure = error.message;
  }
  reader.end();
  const seconds = (performance.now() - start) / 1000;
  return kernelReport({ kernel, release, selected: files, lines, status, failure, seconds });
}

async function main() {
  let options;
  try {
    options = parse(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    return 2;
  }
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  if (options.list) {
    console.log([...options.kernels.map((name) => `kernel ${name}`), ...options.files].join('\n'));
    return 0;
  }
  const interrupt = new AbortController();
  let ended;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(name, () => {
      ended = name;
      interrupt.abort();
    });
  }
  // As a part of npm test, this ends with vitest, however vitest ended.
  if (options['with-parent']) process.stdin.on('close', () => interrupt.abort()).resume();
  const interrupted = () => (ended === 'SIGINT' ? 130 : 143);
  if (options.command.length > 0) {
    const status = await look(options, interrupt.signal);
    return interrupt.signal.aborted ? interrupted() : status;
  }
  const reports = [];
  for (const kernel of options.kernels) {
    if (interrupt.signal.aborted) break;
    const report = await testOn(kernel, options, interrupt.signal);
    const whole = report.files.find(({ file }) => file === '');
    if (whole) console.log(fileLines(whole));
    console.log(
      `  ${kernel} (${report.release}): ${summary(sum([report]))}, ${Math.round(report.seconds)} s`,
    );
    reports.push(report);
    // A run of only some tests of a file says nothing about the file.
    if (!options.name) keep(report);
  }
  if (options.json) writeFileSync(options.json, `${JSON.stringify(reports)}\n`);
  if (options.docs && !interrupt.signal.aborted) writeTable(PAGE, allKnown());
  const count = sum(reports);
  console.log(summary(count));
  if (interrupt.signal.aborted) return interrupted();
  return count.failed > 0 || count.passed === 0 ? 1 : 0;
}

/** Runs a command instead of the tests. */
async function look({ kernels: [kernel], command, minutes }, signal) {
  const out = (bytes) => process.stdout.write(bytes);
  const err = (bytes) => process.stderr.write(bytes);
  try {
    return await runOn(kernel, { command, minutes, signal, out, err });
  } catch (error) {
    console.error(error.message);
    return 1;
  }
}

process.exitCode = await main();
// Standard input stays open as long as the parent process.
process.stdin.destroy();
