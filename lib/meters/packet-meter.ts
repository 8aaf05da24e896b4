import type { Protocol, Tally } from '../programs/xdp-counter.ts';

export type Tallies = Record<Protocol, Tally>;

/** What was counted up to a moment, and how fast since the sample before. */
export interface Sample {
  time: Date;
  /** Since the meter was made, in seconds. */
  elapsed: number;
  totals: Tallies;
  /** Per second of the time that really passed. */
  rates: Tallies;
}

/** Turns counters into rates. */
export class Meter {
  readonly #read: () => Tallies;
  readonly #now: () => number;
  readonly #start: number;
  #last: { at: number; totals: Tallies };

  /** @param now milliseconds of a clock that only goes forward */
  constructor(read: () => Tallies, now: () => number = () => performance.now()) {
    this.#read = read;
    this.#now = now;
    this.#start = now();
    this.#last = { at: this.#start, totals: read() };
  }

  sample(): Sample {
    const totals = this.#read();
    const at = this.#now();
    const seconds = (at - this.#last.at) / 1000;
    const before = this.#last.totals;
    const rates = mapTallies(totals, (tally, protocol) => ({
      packets: perSecond(tally.packets - before[protocol].packets, seconds),
      bytes: perSecond(tally.bytes - before[protocol].bytes, seconds),
    }));
    this.#last = { at, totals };
    return { time: new Date(), elapsed: (at - this.#start) / 1000, totals, rates };
  }
}

/** The rates of the whole run. */
export function means({ totals, elapsed }: Sample): Tallies {
  return mapTallies(totals, ({ packets, bytes }) => ({
    packets: perSecond(packets, elapsed),
    bytes: perSecond(bytes, elapsed),
  }));
}

export function sum(tallies: Tallies): Tally {
  const all = Object.values(tallies);
  return {
    packets: all.reduce((total, { packets }) => total + packets, 0),
    bytes: all.reduce((total, { bytes }) => total + bytes, 0),
  };
}

function mapTallies(tallies: Tallies, f: (tally: Tally, protocol: Protocol) => Tally): Tallies {
  const { tcp, udp, icmp, other } = tallies;
  return { tcp: f(tcp, 'tcp'), udp: f(udp, 'udp'), icmp: f(icmp, 'icmp'), other: f(other, 'other') };
}

export function perSecond(amount: number, seconds: number): number {
  return seconds > 0 ? Math.round((amount / seconds) * 1000) / 1000 : 0;
}
