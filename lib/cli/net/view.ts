import { bytes, clock, duration, rate } from '../../format/units.ts';
import { closed, type NetSample, opened, sumOf, totalOf } from '../../meters/net-meter.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import type { View } from '../terminal/view.ts';

/** For programs: one JSON object per line. */
export class JsonNetView implements View<NetSample> {
  open(): void {}

  show({ time, totals, rates }: NetSample): void {
    printJson({ time: time.toISOString(), totals, rates });
  }

  close(): void {}
}

const HEADS = ['rx', 'tx', 'drops', 'retransmits', 'opened', 'closed'];
const WIDTHS = [20, 20, 9, 13, 9, 9];

/** For pipes and logs: one line per interval for all interfaces, and one per interface at the end. */
export class LineNetView implements View<NetSample> {
  readonly #title: string;

  constructor(title: string) {
    this.#title = title;
  }

  open(): void {
    print(`${this.#title}: packets/s and bytes/s, drops and TCP events per second`);
    print(`time    ${cells(HEADS)}`);
  }

  show({ time, rates }: NetSample): void {
    print(`${clock(time)}${cells(row(rates, rate))}`);
  }

  close({ totals, elapsed }: NetSample): void {
    const words = (value: number) => value.toLocaleString('en-US');
    print(`total   ${cells(row(totals, words))}`);
    for (const [name, { rx, tx }] of Object.entries(totals.interfaces)) {
      const of = ({ packets, bytes: length }: typeof rx) => `${words(packets)} packets, ${bytes(length)}`;
      print(`interface ${printable(name)}: rx ${of(rx)}; tx ${of(tx)}`);
    }
    for (const [reason, count] of Object.entries(totals.drops)) print(`dropped ${reason}: ${words(count)}`);
    for (const [name, count] of Object.entries(totals.tcp.transitions)) print(`tcp ${name}: ${words(count)}`);
    if (totals.lost > 0) print(`not counted: ${words(totals.lost)}`);
    print(`detached after ${duration(elapsed)}`);
  }
}

function row({ interfaces, drops, tcp }: NetSample['rates'], words: (value: number) => string): string[] {
  const { rx, tx } = sumOf(interfaces);
  return [
    ...[rx, tx].map((tally) => `${words(tally.packets)} ${bytes(tally.bytes).padStart(8)}`),
    ...[totalOf(drops), tcp.retransmits, opened(tcp), closed(tcp)].map(words),
  ];
}

function cells(texts: readonly string[]): string {
  return texts.map((text, index) => ` ${text.padStart((WIDTHS[index] ?? 0) - 1)}`).join('');
}
