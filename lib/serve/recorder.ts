import { EbpfError } from '../core/errors.ts';
import type { HealthReport } from '../loader/health.ts';
import { FlowMeter, type FlowRow as FlowSampleRow } from '../meters/flow-meter.ts';
import { LatencyMeter } from '../meters/latency-meter.ts';
import { NetMeter, opened, totalOf } from '../meters/net-meter.ts';
import { Meter } from '../meters/packet-meter.ts';
import type { SyscallLatency } from '../programs/syscall-latency.ts';
import type { TcClassifier } from '../programs/tc-classifier.ts';
import type { TracepointNet } from '../programs/tracepoint-net.ts';
import type { Tally, XdpCounter } from '../programs/xdp-counter.ts';
import type { ComponentRow, FlowRow, Now, Pair, Update } from './update.ts';
import type { Watched } from './watched.ts';

/** The programs to record, each of which may be attached or not. */
export interface Recorded {
  readonly counters: readonly Watched<XdpCounter>[];
  readonly classifiers: readonly Watched<TcClassifier>[];
  readonly latency: Watched<SyscallLatency> | undefined;
  readonly net: Watched<TracepointNet> | undefined;
}

/** The number of flows that the page shows. */
const FLOWS = 20;

/** Makes an update from the programs' counts each second, and keeps the last ones. */
export class Recorder {
  readonly length: number;
  readonly #recorded: Recorded;
  readonly #health: () => HealthReport;
  readonly #updates: Update[] = [];
  // Keyed by program: one that is attached again is a new object, and gets a new meter.
  readonly #meters = new WeakMap<object, unknown>();

  /** @param length the number of updates to keep */
  constructor(recorded: Recorded, health: () => HealthReport, length: number) {
    this.#recorded = recorded;
    this.#health = health;
    this.length = length;
  }

  /** The updates that are kept, the oldest first. */
  get updates(): readonly Update[] {
    return this.#updates;
  }

  /** Keeps an update, and drops the oldest one if there are too many. */
  keep(update: Update): void {
    this.#updates.push(update);
    if (this.#updates.length > this.length) this.#updates.shift();
  }

  /** Samples all programs. A program is in the result from its second sample on. */
  record(): { update: Update; now: Omit<Now, 'decisions'> } {
    const { counters, classifiers, latency, net } = this.#recorded;
    const packets = counters.flatMap(({ iface = '', program }) => {
      const sample = this.#sample(program, (counter) => new Meter(() => counter.read()));
      return sample && program ? [{ iface, mode: program.link.mode, ...sample }] : [];
    });
    const flows = classifiers.flatMap(({ iface = '', program }) => {
      const sample = this.#sample(program, (classifier) => new FlowMeter(classifier));
      return sample?.flows.map((flow) => flowRow(iface, flow)) ?? [];
    });
    const calls = this.#sample(latency?.program, (measuring) => new LatencyMeter(measuring))?.last;
    const network = this.#sample(net?.program, (counting) => new NetMeter(() => netTotals(counting)));
    const update: Update = {
      time: Date.now(),
      packets: byName(packets, ({ iface, rates }) => [iface, pairs(rates)]),
      latency: byName(Object.entries(calls ?? {}), ([name, { slots }]) => [name, sparse(slots)]),
      network: {
        drops: totalOf(network?.rates.drops ?? {}),
        retransmits: network?.rates.tcp.retransmits ?? 0,
        opened: network ? opened(network.rates.tcp) : 0,
      },
    };
    const now = {
      totals: byName(packets, ({ iface, totals }) => [iface, pairs(totals)]),
      modes: byName(packets, ({ iface, mode }) => [iface, mode]),
      interfaces: byName(Object.entries(network?.rates.interfaces ?? {}), ([name, { rx, tx }]) => [
        name,
        { receive: pair(rx), transmit: pair(tx) },
      ]),
      flows: flows.sort((a, b) => b.rate[1] - a.rate[1] || b.total[1] - a.total[1]).slice(0, FLOWS),
      drops: rows(network?.rates.drops, network?.totals.drops),
      transitions: rows(network?.rates.tcp.transitions, network?.totals.tcp.transitions),
      health: healthRow(this.#health()),
    };
    return { update, now };
  }

  /** Samples a program. Undefined if there is none, if this is the first time, or if the kernel refused. */
  #sample<P extends object, S>(program: P | undefined, make: (program: P) => { sample(): S }): S | undefined {
    if (!program) return undefined;
    try {
      const meter = this.#meters.get(program) as { sample(): S } | undefined;
      if (meter) return meter.sample();
      this.#meters.set(program, make(program));
    } catch (error) {
      if (!(error instanceof EbpfError)) throw error; // counted by a scrape, and shown by health()
    }
    return undefined;
  }
}

function netTotals(net: TracepointNet) {
  const { tcp, lost } = net.activity();
  return { interfaces: net.interfaces(), drops: net.drops(), tcp, lost };
}

function pair({ packets, bytes }: Tally): Pair {
  return [packets, bytes];
}

function pairs(tallies: Readonly<Record<string, Tally>>): Record<string, Pair> {
  return byName(Object.entries(tallies), ([name, tally]) => [name, pair(tally)]);
}

function sparse(slots: Float64Array): [number, number][] {
  return Array.from(slots, (calls, slot): [number, number] => [slot, calls]).filter(([, calls]) => calls > 0);
}

function rows(
  rates: Readonly<Record<string, number>> = {},
  totals: Readonly<Record<string, number>> = {},
): [string, number, number][] {
  return Object.entries(totals)
    .map(([name, total]): [string, number, number] => [name, rates[name] ?? 0, total])
    .sort((a, b) => b[1] - a[1] || b[2] - a[2]);
}

function flowRow(iface: string, flow: FlowSampleRow): FlowRow {
  const { direction, protocol, source, sourcePort, destination, destinationPort } = flow;
  return {
    interface: iface,
    direction,
    protocol,
    source: endpoint(source, sourcePort),
    destination: endpoint(destination, destinationPort),
    rate: pair(flow.rates),
    total: pair(flow),
  };
}

function endpoint(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function healthRow({ component, status, message, components }: HealthReport): Now['health'] {
  const row = (one: ComponentRow): ComponentRow => ({
    component: one.component,
    status: one.status,
    message: one.message,
  });
  return { ...row({ component, status, message }), components: components.map(row) };
}

function byName<T, V>(of: readonly T[], entry: (one: T) => readonly [string, V]): Record<string, V> {
  return Object.fromEntries(of.map(entry));
}
