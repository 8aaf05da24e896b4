// Writes rows as JSON, as Markdown and as a chart. Documents have ratios only, because times depend on the
// machine.
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { BUDGETS, worst } from './budgets.js';

const DOCUMENT = new URL('../docs/performance.md', import.meta.url);
const CHART = new URL('../docs/performance.svg', import.meta.url);
const BEGIN = '<!-- npm run bench -- --docs writes from here -->';
const END = '<!-- to here -->';

const digits = (value) =>
  value < 0.1 ? value.toFixed(3) : value < 10 ? value.toFixed(2) : Math.round(value).toLocaleString('en');
const range = ({ median, min, max }) => `${digits(median)} (${digits(min)}–${digits(max)})`;

/** Returns the line that is printed when a row is done. */
export function line({ impl, via, against, ratio, garbageBytes, rounds, budgets }) {
  const said = { missed: 'MISSED', 'out of reach': 'out of reach on this machine' };
  const missed = budgets
    .filter(({ state }) => said[state])
    .map(({ words, figure, byC, state }) => {
      const own = byC ? `; C in the same way: ${digits(byC)}` : '';
      return `  ${said[state]}: ${words} (${digits(figure)}${own})`;
    });
  const left = garbageBytes ? `, ${garbageBytes} bytes of garbage` : '';
  return [`  ${impl} ${via}: ${range(ratio)} × ${against}, ${rounds} rounds${left}`, ...missed].join('\n');
}

export function results(rows, quick) {
  return {
    date: new Date().toISOString(),
    quick,
    node: process.version,
    kernel: release(),
    cpus: cpus().length,
    rows: rows.map(({ ratio, ...row }) => ({
      ...row,
      ratioToC: row.against.startsWith('C ') ? ratio.median : null,
      ratio,
      met: row.budgets.every(({ state }) => state === 'met'),
    })),
  };
}

function table(heads, lines) {
  return [heads, heads.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function markdown(rows) {
  const measured = rows.map((row) => [
    row.case,
    row.impl,
    row.via,
    `${range(row.ratio)} × ${row.against}`,
    row.garbageBytes ?? '',
    row.rounds,
    worst(row.budgets) ?? '',
  ]);
  return [
    table(
      ['case', 'implementation', 'via', 'median (min–max)', 'garbage, bytes', 'rounds', 'budget'],
      measured,
    ),
    ...shares(rows),
    table(['figure', 'budget', 'rows', 'result'], summary(rows)),
  ].join('\n\n');
}

/** Returns the table of each program's own share of one CPU. */
function shares(rows) {
  const programs = rows.filter((row) => row.percentOfCpu);
  if (programs.length === 0) return [];
  const rates = Object.keys(programs[0].percentOfCpu);
  const heads = rates.map((rate) => `${Number(rate).toLocaleString('en')} events per second`);
  const lines = programs.map(({ case: name, impl, via, percentOfCpu }) => [
    impl,
    via,
    name.replace('overhead: ', ''),
    ...rates.map((rate) => `${digits(percentOfCpu[rate])} %`),
  ]);
  return [table(['program', 'via', 'work', ...heads], lines)];
}

function summary(rows) {
  return Object.values(BUDGETS).flatMap(({ what, words }) => {
    const all = rows.flatMap((row) => row.budgets.map((budget) => ({ ...budget, of: row.case })));
    const these = all.filter((budget) => budget.words === words && budget.what === what);
    if (these.length === 0) return [];
    const by = (wanted) => {
      const names = these.filter(({ state }) => state === wanted).map(({ of }) => of.split(':')[0]);
      return names.length === 0 ? [] : [`${wanted}: ${[...new Set(names)].join(', ')}`];
    };
    const others = [...by('missed'), ...by('out of reach')];
    return [[what, words, these.length, others.join('; ') || 'all met']];
  });
}

export function writeDocs(rows) {
  const text = readFileSync(DOCUMENT, 'utf8');
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from)
    throw new Error('docs/performance.md does not have the lines that enclose its tables');
  writeFileSync(DOCUMENT, `${text.slice(0, from)}${BEGIN}\n\n${markdown(rows)}\n\n${text.slice(to)}`);
  writeFileSync(CHART, chart(rows));
}

const COLOURS = { 'node-ebpf': '#2f7ed8', 'npm bpf': '#b0b0b0', bpftool: '#d8d8d8' };
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Draws the best result of each implementation against C's batch on a logarithmic scale, with C at 1. */
export function chart(rows) {
  const names = [...new Set(rows.filter((row) => /^[a-e]: /.test(row.case)).map((row) => row.case))];
  const bars = names.flatMap((name) =>
    Object.keys(COLOURS).flatMap((impl) => {
      const of = rows.filter((row) => row.case === name && row.impl === impl && row.against === 'C batch');
      const best = of.toSorted((x, y) => x.ratio.median - y.ratio.median)[0];
      return best ? [{ name, impl, label: `${impl}, ${best.via}`, value: best.ratio.median }] : [];
    }),
  );
  const [left, wide, high, least, most] = [390, 480, 22, 0.001, 1000];
  const x = (value) =>
    left + (wide * Math.log10(Math.min(Math.max(value, least), most) / least)) / Math.log10(most / least);
  const marks = [0.01, 0.1, 1, 10, 100];
  const bottom = bars.length * high + 10;
  const lines = marks.map(
    (mark) =>
      `<path d="M${x(mark)} 4V${bottom}" stroke="${mark === 1 ? '#c00' : '#ddd'}"/><text x="${x(mark)}" y="${bottom + 16}" text-anchor="middle">${mark === 1 ? 'C batch' : `${mark} ×`}</text>`,
  );
  const drawn = bars.map(({ name, impl, label, value }, i) => {
    const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
    const title =
      bars[i - 1]?.name === name ? '' : `<text x="8" y="${i * high + 19}">${escaped(name)}</text>`;
    return `${title}<text x="${left - 8}" y="${i * high + 19}" text-anchor="end">${escaped(label)}</text><rect x="${from.toFixed(1)}" y="${i * high + 7}" width="${Math.max(1, to - from).toFixed(1)}" height="15" fill="${COLOURS[impl]}"/><text x="${(to + 5).toFixed(1)}" y="${i * high + 19}">${digits(value)}</text>`;
  });
  const size = [left + wide + 60, bottom + 26];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.join(' ')}" width="${size[0]}" height="${size[1]}" font-family="sans-serif" font-size="12" fill="#333">
<title>Reading a whole map: time over C’s batch lookup, logarithmic; shorter than the red line is faster than C</title>
<rect width="100%" height="100%" fill="#fff"/>
${[...lines, ...drawn].join('\n')}
</svg>
`;
}
