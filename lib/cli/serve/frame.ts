import { styleText } from 'node:util';
import { bytes, clock, count, rate } from '../../format/units.ts';
import type { Observation } from '../../serve/observer.ts';
import { clip, Screen } from '../terminal/screen.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { Area } from '../terminal/view.ts';
import { callsOf, type ServeSubject, type ServeView, sumOf } from './view.ts';

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'other'];
const COLUMNS: readonly Column[] = [
  { head: '' },
  { head: 'packets/s', align: 'right', width: 12 },
  { head: 'bytes/s', align: 'right', width: 11 },
  ...PROTOCOLS.map((head): Column => ({ head, align: 'right', width: 9 })),
  { head: 'total', align: 'right', width: 12 },
];
const COLOURS = { healthy: 'green', degraded: 'yellow', unhealthy: 'red' } as const;
const LOG = 5;

export interface ServeFrame {
  readonly subject: ServeSubject;
  readonly observation: Observation;
  /** The last events. */
  readonly log: readonly string[];
  readonly final: boolean;
}

/** Makes the lines of one screen of `serve`, cut to the size of the terminal. */
export function serveFrame(
  { subject, observation: { update, now }, log, final }: ServeFrame,
  { columns, rows, stream }: Area,
): string[] {
  const room = columns - 1;
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    styleText(format, text, { stream });
  const { health, totals } = now;
  const body = Object.entries(update.packets).map(([iface, protocols]) => {
    const [packets, size] = sumOf(protocols);
    return [
      paint('bold', iface),
      rate(packets),
      bytes(size),
      ...PROTOCOLS.map((name) => rate(protocols[name]?.[0] ?? 0)),
      count(sumOf(totals[iface] ?? {})[0]),
    ];
  });
  const [head = '', ...lines] = tableLines(COLUMNS, body);
  const { drops, retransmits, opened } = update.network;
  const all = [
    `${paint('bold', 'node-ebpf')}  ${paint('cyan', subject.url)}  ${paint(COLOURS[health.status], health.status)}`,
    paint('dim', subject.demo ? `${health.message}; demo: also sends packets on lo` : health.message),
    '',
    paint('dim', head),
    ...lines,
    '',
    `system calls ${count(callsOf(update))}, connections ${rate(opened)}/s, drops ${rate(drops)}/s, retransmits ${rate(retransmits)}/s`,
    ...log,
    ...(final ? ['', 'detached'] : ['', paint('dim', '^C detaches and ends')]),
  ];
  return all.slice(0, Math.max(rows - 1, 1)).map((line) => clip(line, room));
}

/** For terminals. */
export class ScreenServeView implements ServeView {
  readonly #subject: ServeSubject;
  readonly #screen = new Screen();
  #log: string[] = [];

  constructor(subject: ServeSubject) {
    this.#subject = subject;
  }

  open(observation: Observation): void {
    this.#screen.open(this.#drawing(observation, false));
  }

  show(observation: Observation): void {
    this.#screen.show(this.#drawing(observation, false));
  }

  log(message: string): void {
    this.#log = [...this.#log, `${clock(new Date())} ${message}`].slice(-LOG);
  }

  close(observation: Observation): void {
    this.#screen.close(this.#drawing(observation, true));
  }

  #drawing(observation: Observation, final: boolean) {
    return (area: Area) => serveFrame({ subject: this.#subject, observation, log: this.#log, final }, area);
  }
}
