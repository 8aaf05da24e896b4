import { styleText } from 'node:util';
import { bytes, count, duration, rate } from '../../format/units.ts';
import { closed, type NetSample, netMeans, opened, sumOf } from '../../meters/net-meter.ts';
import { printable } from '../terminal/output.ts';
import { clip } from '../terminal/screen.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { Area } from '../terminal/view.ts';

export interface NetFrame {
  title: string;
  sample: NetSample;
  /** Whether this is the last screen: means of the whole run instead of the rates of the last second. */
  final: boolean;
}

const NAME = 18;
const INTERFACES: readonly Column[] = [
  { head: 'interface', width: NAME },
  ...['rx packets/s', 'rx bytes/s', 'tx packets/s', 'tx bytes/s'].map(number),
];
const COUNTS: readonly Column[] = [
  { head: '', width: 2 * NAME },
  { head: '/s', align: 'right', width: 10 },
  { head: 'total', align: 'right', width: 14 },
];

function number(head: string): Column {
  return { head, align: 'right', width: 14 };
}

/** Makes the lines of one screen of `net`, cut to the size of the terminal, the busiest interface first. */
export function netFrame({ title, sample, final }: NetFrame, { columns, rows, stream }: Area): string[] {
  const room = columns - 1; // a character in the last cell makes some terminals wrap
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  const { totals } = sample;
  const speeds = final ? netMeans(sample) : sample.rates;

  const interfaceRow = (name: string, { rx, tx }: (typeof totals.interfaces)[string]) => [
    name,
    rate(rx.packets),
    bytes(rx.bytes),
    rate(tx.packets),
    bytes(tx.bytes),
  ];
  const busiest = Object.entries(speeds.interfaces).sort(
    ([, a], [, b]) => b.rx.packets + b.tx.packets - a.rx.packets - a.tx.packets,
  );
  const names = [
    ...busiest.map(([name, tally]) => interfaceRow(shortened(printable(name)), tally)),
    interfaceRow(paint('bold', 'total'), sumOf(speeds.interfaces)),
  ];
  const countRows = (now: Record<string, number>, all: Record<string, number>) =>
    Object.entries(all)
      .sort(([, a], [, b]) => b - a)
      .map(([name, total]) => [name, rate(now[name] ?? 0), count(total)]);
  const tcp = {
    now: { retransmits: speeds.tcp.retransmits, opened: opened(speeds.tcp), closed: closed(speeds.tcp) },
    all: { retransmits: totals.tcp.retransmits, opened: opened(totals.tcp), closed: closed(totals.tcp) },
  };
  const drops = countRows(speeds.drops, totals.drops);
  const section = (head: string, lines: readonly string[][]) => {
    const [first = '', ...body] = tableLines([{ ...COUNTS[0], head }, ...COUNTS.slice(1)], lines);
    return ['', paint('dim', first), ...body];
  };
  const [head = '', ...body] = tableLines(INTERFACES, names);
  const heading = `${paint('bold', title)}  ${duration(sample.elapsed)}`;
  const lines = [
    final ? `${heading}, detached: means and totals` : heading,
    '',
    paint('dim', head),
    ...body,
    ...(drops.length > 0 ? section('dropped', drops) : []),
    ...section('TCP', [
      ...Object.entries(tcp.all).map(([name, total]) => [
        name,
        rate(tcp.now[name as keyof typeof tcp.now]),
        count(total),
      ]),
      ...countRows(speeds.tcp.transitions, totals.tcp.transitions),
    ]),
    ...(totals.lost > 0 ? ['', paint('yellow', `not counted: ${count(totals.lost)}`)] : []),
    ...(final ? [] : ['', paint('dim', '^C detaches and ends')]),
  ];
  return lines.slice(0, Math.max(rows - 1, 1)).map((line) => clip(line, room));
}

function shortened(name: string): string {
  return name.length < NAME ? name : `${name.slice(0, NAME - 2)}…`;
}
