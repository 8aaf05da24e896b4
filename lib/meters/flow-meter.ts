import type { Flow } from '../programs/flow.ts';
import type { FlowAccount } from '../programs/tc-classifier.ts';
import type { Tally } from '../programs/xdp-counter.ts';

export type Classes = Record<string, { ingress: Tally; egress: Tally }>;

/** What TcClassifier has of it, and tests put in its place. */
export interface Counters {
  classes(): Classes;
  flows(top: number): Flow[];
  flowAccount(): FlowAccount;
}

export interface FlowRow extends Flow {
  /** Per second of the time that really passed. */
  rates: Tally;
}

export interface FlowSample {
  time: Date;
  /** Since the meter was made, in seconds. */
  elapsed: number;
  classes: Classes;
  rates: Classes;
  /** All that are there, the fastest first. */
  flows: readonly FlowRow[];
  /** Flows that made room for others. */
  evicted: number;
}

/** Turns counters into rates. A flow that was not there before began at 0. */
export class FlowMeter {
  readonly #counters: Counters;
  readonly #now: () => number;
  readonly #start: number;
  #at: number;
  #classes: Classes;
  #flows: ReadonlyMap<string, Flow>;

  /** @param now milliseconds of a clock that only goes forward */
  constructor(counters: Counters, now: () => number = () => performance.now()) {
    this.#counters = counters;
    this.#now = now;
    this.#start = now();
    this.#at = this.#start;
    this.#classes = counters.classes();
    this.#flows = byName(counters.flows(Number.POSITIVE_INFINITY));
  }

  sample(): FlowSample {
    const classes = this.#counters.classes();
    const flows = this.#counters.flows(Number.POSITIVE_INFINITY);
    const { evicted } = this.#counters.flowAccount();
    const at = this.#now();
    const seconds = (at - this.#at) / 1000;
    const before = { classes: this.#classes, flows: this.#flows };
    this.#at = at;
    this.#classes = classes;
    this.#flows = byName(flows);
    const rates = mapClasses(classes, (tally, name, direction) =>
      perSecond(tally, before.classes[name]?.[direction], seconds),
    );
    const rows = flows
      .map((flow) => ({ ...flow, rates: perSecond(flow, sameFlow(before.flows, flow), seconds) }))
      .sort((a, b) => b.rates.bytes - a.rates.bytes || b.bytes - a.bytes);
    const elapsed = (at - this.#start) / 1000;
    return { time: new Date(), elapsed, classes, rates, flows: rows, evicted };
  }
}

/** The rates of the whole run, and the flows of the most bytes first. */
export function meanSample(sample: FlowSample): FlowSample {
  const { classes, flows, elapsed } = sample;
  return {
    ...sample,
    rates: mapClasses(classes, (tally) => perSecond(tally, undefined, elapsed)),
    flows: flows
      .map((flow) => ({ ...flow, rates: perSecond(flow, undefined, elapsed) }))
      .sort((a, b) => b.bytes - a.bytes),
  };
}

export function sumClasses(classes: Classes, direction: 'ingress' | 'egress'): Tally {
  const tallies = Object.values(classes).map((both) => both[direction]);
  return {
    packets: tallies.reduce((total, { packets }) => total + packets, 0),
    bytes: tallies.reduce((total, { bytes }) => total + bytes, 0),
  };
}

function byName(flows: readonly Flow[]): ReadonlyMap<string, Flow> {
  return new Map(flows.map((flow) => [flowName(flow), flow]));
}

function flowName(flow: Flow): string {
  const { direction, protocol, source, sourcePort, destination, destinationPort } = flow;
  return [direction, protocol, source, sourcePort, destination, destinationPort].join(' ');
}

// One that was evicted and came again counts from 0.
function sameFlow(before: ReadonlyMap<string, Flow>, flow: Flow): Flow | undefined {
  const old = before.get(flowName(flow));
  return old?.firstNs === flow.firstNs ? old : undefined;
}

function mapClasses(
  classes: Classes,
  f: (tally: Tally, name: string, direction: 'ingress' | 'egress') => Tally,
): Classes {
  return Object.fromEntries(
    Object.entries(classes).map(([name, { ingress, egress }]) => [
      name,
      { ingress: f(ingress, name, 'ingress'), egress: f(egress, name, 'egress') },
    ]),
  );
}

function perSecond(now: Tally, before: Tally | undefined, seconds: number): Tally {
  const rate = (amount: number) => (seconds > 0 ? Math.round((amount / seconds) * 1000) / 1000 : 0);
  return {
    packets: rate(now.packets - (before?.packets ?? 0)),
    bytes: rate(now.bytes - (before?.bytes ?? 0)),
  };
}
