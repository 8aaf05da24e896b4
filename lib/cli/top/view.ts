import type { XdpMode } from '../../core/xdp-mode.ts';
import { bytes, clock, duration, rate } from '../../format/units.ts';
import type { Sample, Tallies } from '../../meters/packet-meter.ts';
import { print, printJson } from '../terminal/output.ts';
import type { View } from '../terminal/view.ts';

/** The interface that `top` watches. */
export interface Subject {
  iface: string;
  /** The mode that the kernel reports. */
  mode: XdpMode;
  /** A line to show below the title. */
  note?: string;
}

const MODE_WORDS: Readonly<Record<XdpMode, string>> = {
  skb: 'skb (generic)',
  drv: 'drv (native)',
  hw: 'hw (offload)',
};

export function modeWords(mode: XdpMode): string {
  return MODE_WORDS[mode];
}

/** For programs: one JSON object per line. */
export class JsonView implements View<Sample> {
  readonly #subject: Subject;

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  open(): void {}

  show({ time, totals, rates }: Sample): void {
    const { iface, mode } = this.#subject;
    printJson({ time: time.toISOString(), interface: iface, mode, totals, rates });
  }

  close(): void {}
}

const CELL = 20;

/** For pipes and logs: one line per interval under one head. */
export class LineView implements View<Sample> {
  readonly #subject: Subject;

  constructor(subject: Subject) {
    this.#subject = subject;
  }

  open({ totals }: Sample): void {
    const { iface, mode, note } = this.#subject;
    print(`${iface}, ${modeWords(mode)}: packets/s and bytes/s, by protocol`);
    if (note !== undefined) print(note);
    print(`time    ${Object.keys(totals).map(cell).join('')}`);
  }

  show({ time, rates }: Sample): void {
    print(`${clock(time)}${cells(rates, rate)}`);
  }

  close({ totals, elapsed }: Sample): void {
    print(`total   ${cells(totals, (packets) => packets.toLocaleString('en-US'))}`);
    print(`detached after ${duration(elapsed)}`);
  }
}

function cells(tallies: Tallies, packetWords: (value: number) => string): string {
  return Object.values(tallies)
    .map((tally) => cell(`${packetWords(tally.packets)} ${bytes(tally.bytes).padStart(8)}`))
    .join('');
}

function cell(text: string): string {
  return ` ${text.padStart(CELL - 1)}`;
}
