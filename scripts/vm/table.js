// Writes the table of docs/kernel-support.md: the results of each feature's tests on each kernel, from the
// last runs.
import { readFileSync, writeFileSync } from 'node:fs';

export const BEGIN = '<!-- npm run test:vm -- --docs writes from here -->';
export const END = '<!-- to here -->';

/**
 * Rows whose tests are found by file and name. The features of test/helpers/features.ts follow, which their
 * tests name.
 */
const ROWS = [
  { label: 'XDP, native and generic', file: 'programs/xdp-counter', name: /on an interface/ },
  { label: 'XDP by a bpf_link', file: 'link/link', name: /./ },
  { label: 'TC by clsact', file: 'attach/tc', name: /clsact/ },
  { label: 'tracepoints', file: 'attach/attach', name: /^a tracepoint: by SEC\(\)/ },
  { label: 'raw tracepoints, tp_btf', file: 'attach/attach', name: /^attachRawTracepoint\(\)/ },
  { label: 'cgroup programs', file: 'attach/cgroup', name: /^counts the packets/ },
  { label: 'socket filters', file: 'attach/socket', name: /^counts the packets/ },
  { label: 'pinned links', file: 'attach/attach', name: /pinned tracepoint link|pinned it stays/ },
  { label: 'pinned maps and programs', file: 'handle/pin', name: /^a map and a program are pinned/ },
  { label: 'CO-RE relocations, kconfig', file: 'object/load-options', name: /^kconfig and BTF/ },
  { label: 'batch lookup', file: 'kernel/probe', name: /has what kernels of its age have/ },
  { label: 'dropping root privileges', file: 'kernel/drop-privileges', name: /./ },
];

const LABELS = {
  kprobes: 'kprobes, ksyscall',
  'links of events': 'perf event links',
  'samples of later threads': 'samples of new threads',
  snapshot: 'readers via snapshot',
  tcx: 'TC by TCX',
  'test runs that refuse short frames': 'test runs reject short frames',
};

/** Returns one cell of the table. For skipped tests it is the reason in their names. */
export function cell(tests) {
  if (tests.length === 0) return '';
  if (tests.some(({ state }) => state === 'failed')) return 'FAILS';
  const ran = tests.filter(({ state }) => state === 'passed');
  if (ran.length > 0) return 'ok';
  const names = tests.map(({ name }) => name).join('\n');
  const errno = /takes kernel [\d.]+; this one says (\w+)\)/.exec(names)?.[1];
  if (errno) return `— (${errno})`;
  const since = /takes kernel ([\d.]+)\)/.exec(names)?.[1];
  return since ? `needs ${since}` : 'skipped';
}

export function table(reports) {
  const testsOf = ({ files }, file) =>
    files.filter((one) => one.file === `test/kernel/${file}.test.ts`).flatMap(({ tests }) => tests);
  const all = ({ files }) => files.flatMap(({ tests }) => tests);
  const features = new Set(reports.flatMap((report) => all(report).flatMap(({ feature }) => feature ?? [])));
  const rows = [
    ...ROWS.map(({ label, file, name }) => ({
      label,
      cells: reports.map((report) => cell(testsOf(report, file).filter((test) => name.test(test.name)))),
    })),
    ...[...features].sort().map((feature) => ({
      label: LABELS[feature] ?? feature,
      cells: reports.map((report) => cell(all(report).filter((test) => test.feature === feature))),
    })),
  ].filter(({ cells }) => cells.some((text) => text !== ''));
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const head = reports.map(({ release }) => /^\d+\.\d+/.exec(release)?.[0] ?? release);
  return [
    line(['feature', ...head]),
    line(['---', ...head.map(() => '---')]),
    ...rows.map(({ label, cells }) => line([label, ...cells])),
  ].join('\n');
}

/** Writes the table between the marks and leaves the rest of the file alone. */
export function writeTable(file, reports) {
  const page = readFileSync(file, 'utf8');
  const [before, rest] = page.split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`${file} has no ${BEGIN} … ${END}`);
  writeFileSync(file, `${before}${BEGIN}\n\n${table(reports)}\n\n${END}${after}`);
}
