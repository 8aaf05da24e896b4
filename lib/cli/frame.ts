import type { WriteStream } from 'node:tty';
import { styleText } from 'node:util';
import type { Protocol, Tally } from '../programs/index.ts';
import { bar, bytes, count, duration, rate } from './format.ts';
import { means, type Sample, sum } from './meter.ts';
import { type Column, tableLines } from './table.ts';
import { modeWords, type Subject } from './view.ts';

export interface Frame {
  subject: Subject;
  sample: Sample;
  /** The one that stays: means of the whole run in place of the last second's rates. */
  final: boolean;
}

const COLOURS = { tcp: 'cyan', udp: 'green', icmp: 'yellow', other: 'magenta', total: 'bold' } as const;

const RATES: readonly Column[] = [
  { head: '', width: 7 },
  { head: 'packets/s', align: 'right', width: 12 },
  { head: 'bytes/s', align: 'right', width: 10 },
];
const TOTALS: readonly Column[] = [
  { head: 'packets', align: 'right', width: 12 },
  { head: 'bytes', align: 'right', width: 10 },
];
const PERCENT = ' 100 %'.length;
const BAR = { least: 8, most: 40 };

/** The lines of one screen of `top`, none wider than the terminal and not more than it is high. */
export function frame({ subject, sample, final }: Frame, stream: WriteStream): string[] {
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  const room = stream.columns - 1; // the last cell makes some terminals wrap
  // First the bar goes, then the totals.
  const withTotals = room >= total(RATES) + total(TOTALS);
  const columns = withTotals ? [...RATES, ...TOTALS] : RATES;
  const left = room - total(columns) - PERCENT - 2;
  const barWidth = left >= BAR.least ? Math.min(left, BAR.most) : 0;

  const rates = final ? means(sample) : sample.rates;
  const all = sum(rates);
  // No eighths of a block in the font of the kernel's own console.
  const blocks = process.env.TERM !== 'linux';
  const row = (name: Protocol | 'total', speed: Tally, counted: Tally): string[] => {
    const cells = [paint(COLOURS[name], name), rate(speed.packets), bytes(speed.bytes)];
    if (withTotals) cells.push(count(counted.packets), bytes(counted.bytes));
    if (barWidth === 0) return cells;
    const share = all.packets > 0 ? speed.packets / all.packets : 0;
    const drawn = name === 'total' ? '' : bar(share, barWidth, blocks);
    const percent = name === 'total' ? '' : `${Math.round(share * 100)} %`.padStart(PERCENT - 1);
    return [...cells, name === 'total' ? '' : `${percent} ${paint(COLOURS[name], drawn)}`];
  };
  const shown = barWidth > 0 ? [...columns, { head: 'share of packets' }] : columns;
  const protocols = Object.keys(sample.totals) as Protocol[];
  const [head = '', ...rows] = tableLines(shown, [
    ...protocols.map((name) => row(name, rates[name], sample.totals[name])),
    row('total', all, sum(sample.totals)),
  ]);
  const title = `${paint('bold', subject.iface)}  ${modeWords(subject.mode)}  ${duration(sample.elapsed)}`;
  const lines = [
    final ? `${title}, detached: means and totals` : title,
    ...(subject.note === undefined ? [] : [paint('dim', subject.note)]),
    '',
    paint('dim', head),
    ...rows,
    ...(final ? [] : ['', paint('dim', '^C detaches and ends')]),
  ];
  return lines.slice(0, Math.max(stream.rows - 1, 1)).map((line) => clip(line, room));
}

function total(columns: readonly Column[]): number {
  return columns.reduce((cells, { width = 0 }) => cells + width, 0);
}

const ESCAPE = /(\x1b\[[0-9;]*m)/;

/** The first `width` cells of a line, its colours left as they are. */
function clip(line: string, width: number): string {
  let left = width;
  return line
    .split(ESCAPE)
    .map((part) => {
      if (ESCAPE.test(part)) return part;
      const kept = part.slice(0, Math.max(left, 0));
      left -= kept.length;
      return kept;
    })
    .join('');
}
