import type { InterfaceTally, TcpActivity } from '../programs/tracepoint-net.ts';
import type { Tally } from '../programs/xdp-counter.ts';
import { perSecond } from './packet-meter.ts';

/** What a TracepointNet says at one moment. */
export interface NetTotals {
  interfaces: Record<string, InterfaceTally>;
  drops: Record<string, number>;
  tcp: TcpActivity;
  lost: number;
}

/** What was counted up to a moment, and how fast since the sample before. */
export interface NetSample {
  time: Date;
  /** Since the meter was made, in seconds. */
  elapsed: number;
  totals: NetTotals;
  /** Per second of the time that really passed. */
  rates: Omit<NetTotals, 'lost'>;
}

const NONE: NetTotals = { interfaces: {}, drops: {}, tcp: { retransmits: 0, transitions: {} }, lost: 0 };

/** Turns counters into rates. */
export class NetMeter {
  readonly #read: () => NetTotals;
  readonly #now: () => number;
  readonly #start: number;
  #last: { at: number; totals: NetTotals };

  /** @param now milliseconds of a clock that only goes forward */
  constructor(read: () => NetTotals, now: () => number = () => performance.now()) {
    this.#read = read;
    this.#now = now;
    this.#start = now();
    this.#last = { at: this.#start, totals: read() };
  }

  sample(): NetSample {
    const totals = this.#read();
    const at = this.#now();
    const rates = change(this.#last.totals, totals, (at - this.#last.at) / 1000);
    this.#last = { at, totals };
    return { time: new Date(), elapsed: (at - this.#start) / 1000, totals, rates };
  }
}

/** The rates of the whole run. */
export function netMeans({ totals, elapsed }: NetSample): NetSample['rates'] {
  return change(NONE, totals, elapsed);
}

/** All interfaces together. */
export function sumOf(interfaces: Record<string, InterfaceTally>): InterfaceTally {
  const all = Object.values(interfaces);
  const add = (direction: 'rx' | 'tx', field: keyof Tally) =>
    all.reduce((sum, tally) => sum + tally[direction][field], 0);
  return {
    rx: { packets: add('rx', 'packets'), bytes: add('rx', 'bytes') },
    tx: { packets: add('tx', 'packets'), bytes: add('tx', 'bytes') },
  };
}

/** Of all reasons, or of the transitions that `which` takes. */
export function totalOf(
  counts: Record<string, number>,
  which: (name: string) => boolean = () => true,
): number {
  return Object.entries(counts).reduce((sum, [name, count]) => (which(name) ? sum + count : sum), 0);
}

/** Connections that came about. */
export function opened({ transitions }: TcpActivity): number {
  return totalOf(transitions, (name) => name.endsWith('→ESTABLISHED'));
}

/** Sockets that ended, those that never were connected included. */
export function closed({ transitions }: TcpActivity): number {
  return totalOf(transitions, (name) => name.endsWith('→CLOSE'));
}

function change(before: NetTotals, now: NetTotals, seconds: number): NetSample['rates'] {
  const counts = (was: Record<string, number>, is: Record<string, number>) =>
    mapValues(is, (count, name) => perSecond(count - (was[name] ?? 0), seconds));
  const tally = (was: Tally | undefined, { packets, bytes }: Tally) => ({
    packets: perSecond(packets - (was?.packets ?? 0), seconds),
    bytes: perSecond(bytes - (was?.bytes ?? 0), seconds),
  });
  return {
    interfaces: mapValues(now.interfaces, ({ rx, tx }, name) => ({
      rx: tally(before.interfaces[name]?.rx, rx),
      tx: tally(before.interfaces[name]?.tx, tx),
    })),
    drops: counts(before.drops, now.drops),
    tcp: {
      retransmits: perSecond(now.tcp.retransmits - before.tcp.retransmits, seconds),
      transitions: counts(before.tcp.transitions, now.tcp.transitions),
    },
  };
}

function mapValues<T, U>(record: Record<string, T>, f: (value: T, name: string) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value, name)]));
}
