import { styleText } from 'node:util';
import { count, duration, latency, rate } from '../../format/units.ts';
import { type LatencySample, meanRates } from '../../meters/latency-meter.ts';
import type { Log2Histogram } from '../../programs/log2-histogram.ts';
import { clip } from '../terminal/screen.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { Area } from '../terminal/view.ts';
import { type LatencySubject, lostWords, title } from './view.ts';

const COLUMNS: readonly Column[] = [
  { head: '', width: 10 },
  { head: 'calls/s', align: 'right', width: 12 },
  { head: 'p50', align: 'right', width: 10 },
  { head: 'p99', align: 'right', width: 10 },
];
const CALLS: Column = { head: 'calls', align: 'right', width: 12 };

// A cell of a heat strip is one slot. The first one holds everything below 32 ns: no call is that fast.
const FIRST = 4;
const MARKS = [
  { slot: 10, text: '1 µs' },
  { slot: 20, text: '1 ms' },
  { slot: 30, text: '1 s' },
];
const SHADES = ['░', '▒', '▓', '█'];

/** Draws a cell for each slot; its shade is its share of calls, relative to the fullest slot. @internal */
export function heatStrip({ slots }: Pick<Log2Histogram, 'slots'>): string {
  const cells = [...slots.slice(FIRST)];
  cells[0] = slots.slice(0, FIRST + 1).reduce((sum, calls) => sum + calls, 0);
  const most = Math.max(...cells);
  return cells
    .map((calls) => {
      if (calls <= 0) return ' ';
      // Logarithmic, so that one call in a thousand can be seen.
      const share = most > 1 ? Math.log(calls) / Math.log(most) : 1;
      return SHADES[Math.min(Math.floor(share * SHADES.length), SHADES.length - 1)];
    })
    .join('');
}

// The first character of a mark is at its time.
function scale(): string {
  return MARKS.reduce((line, { slot, text }) => line.padEnd(slot - FIRST) + text, '');
}

function width(columns: readonly Column[]): number {
  return columns.reduce((cells, column) => cells + (column.width ?? 0), 0);
}

/** Makes the lines of one screen of `latency`, cut to the size of the terminal. @internal */
export function latencyFrame(
  subject: LatencySubject,
  sample: LatencySample,
  final: boolean,
  { columns, rows, stream }: Area,
): string[] {
  const room = columns - 1; // a character in the last cell makes some terminals wrap
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  // Colour codes around an empty cell would keep trimEnd() from removing its blanks.
  const painted = (cells: string) => (cells === '' ? '' : paint('yellow', cells));
  const histograms = final ? sample.totals : sample.last;
  const rates = final ? meanRates(sample) : sample.rates;
  const strip = 36 - FIRST;
  const withStrip = room >= width(COLUMNS) + strip;
  const withCalls = room >= width(COLUMNS) + width([CALLS]) + (withStrip ? strip : 0);
  const [head = '', ...body] = tableLines(
    [...COLUMNS, ...(withCalls ? [CALLS] : []), ...(withStrip ? [{ head: scale() }] : [])],
    Object.entries(histograms).map(([name, calls]) => [
      paint('cyan', name),
      rate(rates[name] ?? 0),
      latency(calls.percentile(50).ns),
      latency(calls.percentile(99).ns),
      ...(withCalls ? [count(sample.totals[name]?.count ?? 0)] : []),
      ...(withStrip ? [painted(heatStrip(calls).trimEnd())] : []),
    ]),
  );
  const heading = `${paint('bold', title(subject))}  ${duration(sample.elapsed)}`;
  const lost = lostWords(sample.lost);
  const lines = [
    final ? `${heading}, detached: whole run` : heading,
    '',
    paint('dim', head),
    ...body,
    ...(lost === undefined ? [] : ['', paint('red', lost)]),
    ...(final ? [] : ['', paint('dim', '^C detaches and ends')]),
  ];
  return lines.slice(0, Math.max(rows - 1, 1)).map((line) => clip(line, room));
}
