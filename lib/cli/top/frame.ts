import { styleText } from 'node:util';
import { bar, bytes, count, duration, rate } from '../../format/units.ts';
import { means, type Sample, sum } from '../../meters/packet-meter.ts';
import type { Protocol, Tally } from '../../programs/xdp-counter.ts';
import { clip } from '../terminal/screen.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { Area } from '../terminal/view.ts';
import { modeWords, type Subject } from './view.ts';

export interface Frame {
  subject: Subject;
  sample: Sample;
  /** Whether this is the last screen: means of the whole run instead of the rates of the last second. */
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
const PERCENT = '100 % '.length;
const BAR = { least: 8, most: 40 };

// If there is not enough room, the bar is left out first, then the totals.
function layout(room: number): { withTotals: boolean; barWidth: number } {
  const withTotals = room >= total(RATES) + total(TOTALS);
  const left = room - total(RATES) - (withTotals ? total(TOTALS) : 0) - PERCENT - 2;
  return { withTotals, barWidth: left >= BAR.least ? Math.min(left, BAR.most) : 0 };
}

/** Makes the lines of one screen of `top`, cut to the size of the terminal. */
export function frame({ subject, sample, final }: Frame, { columns, rows, stream }: Area): string[] {
  const room = columns - 1; // a character in the last cell makes some terminals wrap
  const { withTotals, barWidth } = layout(room);
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  // The font of the Linux console has no eighths of a block.
  const blocks = process.env.TERM !== 'linux';
  const speeds = final ? means(sample) : sample.rates;
  const all = sum(speeds);

  const row = (name: Protocol | 'total', speed: Tally, counted: Tally): string[] => {
    const share = all.packets > 0 ? speed.packets / all.packets : 0;
    const percent = `${Math.round(share * 100)} % `.padStart(PERCENT);
    const drawn = name === 'total' ? '' : percent + paint(COLOURS[name], bar(share, barWidth, blocks));
    return [
      paint(COLOURS[name], name),
      rate(speed.packets),
      bytes(speed.bytes),
      ...(withTotals ? [count(counted.packets), bytes(counted.bytes)] : []),
      ...(barWidth > 0 ? [drawn] : []),
    ];
  };
  const protocols = Object.keys(speeds) as Protocol[];
  const [head = '', ...body] = tableLines(
    [...RATES, ...(withTotals ? TOTALS : []), ...(barWidth > 0 ? [{ head: 'share of packets' }] : [])],
    [
      ...protocols.map((name) => row(name, speeds[name], sample.totals[name])),
      row('total', all, sum(sample.totals)),
    ],
  );
  const title = `${paint('bold', subject.iface)}  ${modeWords(subject.mode)}  ${duration(sample.elapsed)}`;
  const lines = [
    final ? `${title}, detached: means and totals` : title,
    ...(subject.note === undefined ? [] : [paint('dim', subject.note)]),
    '',
    paint('dim', head),
    ...body,
    ...(final ? [] : ['', paint('dim', '^C detaches and ends')]),
  ];
  return lines.slice(0, Math.max(rows - 1, 1)).map((line) => clip(line, room));
}

function total(columns: readonly Column[]): number {
  return columns.reduce((cells, { width = 0 }) => cells + width, 0);
}
