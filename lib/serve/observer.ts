import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { ControlLoop, type Decision } from '../control/control-loop.ts';
import type { ControlRule } from '../control/rule.ts';
import type { EbpfError } from '../core/errors.ts';
import { HEALTH_VALUE, type HealthReport } from '../loader/health.ts';
import type { BundledProgram } from '../metrics/bundled-source.ts';
import { EbpfMetrics } from '../metrics/ebpf-metrics.ts';
import type { AttachMode } from '../program/xdp-negotiation.ts';
import { SyscallLatency } from '../programs/syscall-latency.ts';
import { TcClassifier } from '../programs/tc-classifier.ts';
import { TracepointNet } from '../programs/tracepoint-net.ts';
import { XdpCounter } from '../programs/xdp-counter.ts';
import { type Recorded, Recorder } from './recorder.ts';
import type { DecisionRow, Hello, Now, Update } from './update.ts';
import { type Wanted, Watched } from './watched.ts';

/** The kinds of programs that `serve` can attach. */
export const OBSERVABLE = ['packets', 'flows', 'net', 'latency'] as const;
export type Observable = (typeof OBSERVABLE)[number];

export interface ObserverOptions {
  readonly interfaces: readonly string[];
  readonly netns?: string | undefined;
  readonly mode?: AttachMode;
  /** Default: all. */
  readonly programs?: readonly Observable[];
  /** The number of flows with series in the metrics. */
  readonly flows?: number;
  /** Packets per second on an interface that count as a flood. Default 100,000. */
  readonly flood?: number;
  /** The number of updates to keep. Default 1,000. */
  readonly window?: number;
  /** Time between attempts to attach missing programs, in milliseconds. Default 30,000. */
  readonly retryMs?: number;
}

const WINDOW = 1000;
const FLOOD = 100_000;
const DECISIONS = 50;
const RETRY_MS = 30_000;

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** What the programs counted, and the decisions of the control loop about it. */
export interface Observation {
  readonly update: Update;
  readonly now: Now;
  readonly decisions: readonly Decision[];
}

/**
 * Attaches the bundled programs to interfaces, and keeps their metrics, their last updates and a control
 * loop, which judges the updates in dry-run mode.
 */
export class Observer {
  readonly metrics: EbpfMetrics;
  readonly loop: ControlLoop;
  readonly #watched: readonly Watched[];
  readonly #recorder: Recorder;
  readonly #retryMs: number;
  /** The signals of the control loop. */
  #judged: { update: Update; status: Now['health']['status'] } | undefined;
  #now: Now | undefined;
  #triedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ObserverOptions) {
    const { interfaces, netns, mode = 'drv', programs = OBSERVABLE, window = WINDOW } = options;
    const at = netns === undefined ? {} : { netns };
    this.metrics = new EbpfMetrics(options.flows === undefined ? {} : { flows: options.flows });
    const watch = <P extends BundledProgram>(wanted: Wanted<P>) => new Watched(wanted, this.metrics);
    const onEach = <P extends BundledProgram>(
      what: Observable,
      program: string,
      attach: (target: { iface: string; netns?: string }) => Promise<P>,
    ) =>
      (programs.includes(what) ? interfaces : []).map((iface) => {
        const target = { iface, ...at };
        return watch({ program, ...target, attach: () => attach(target) });
      });
    const recorded: Recorded = {
      counters: onEach('packets', 'xdp_counter', (target) => XdpCounter.attach({ ...target, mode })),
      // Removes the qdisc too if it was made for this program and no other one uses it.
      classifiers: onEach('flows', 'tc_classifier', (target) =>
        TcClassifier.attach({ ...target, removeQdisc: true }),
      ),
      net: programs.includes('net')
        ? watch({ program: 'tracepoint_net', attach: () => TracepointNet.attach(at) })
        : undefined,
      latency: programs.includes('latency')
        ? watch({ program: 'syscall_latency', attach: () => SyscallLatency.attach({ excludeSelf: true }) })
        : undefined,
    };
    const { counters, classifiers, net, latency } = recorded;
    this.#watched = [...counters, ...classifiers, net, latency].filter((one) => one !== undefined);
    this.#retryMs = options.retryMs ?? RETRY_MS;
    this.#recorder = new Recorder(recorded, () => this.metrics.health(), window);
    this.loop = new ControlLoop({
      sources: {
        packets: () => rates(this.#judged?.update.packets),
        network: () => ({ ...this.#judged?.update.network }),
        health: () => ({ ebpf_loader: HEALTH_VALUE[this.#judged?.status ?? 'healthy'] }),
      },
      rules: rules(interfaces, options.flood ?? FLOOD),
    });
  }

  /** Attaches the programs. Failures are in health(), and observe() retries them from time to time. */
  async attach(): Promise<void> {
    this.#triedAt = performance.now();
    for (const one of this.#watched) await one.attach();
    this.#recorder.record(); // starts the meters
  }

  /** The programs that are not attached, and why. */
  get missing(): { name: string; error: EbpfError }[] {
    return this.#watched.flatMap(({ name, error }) => (error ? [{ name, error }] : []));
  }

  /** Whether there is anything to observe. */
  get isAttached(): boolean {
    return this.#watched.some(({ program }) => program !== undefined);
  }

  /** Records an update, and has the control loop judge it. To be called once per second. */
  async observe(): Promise<Observation> {
    await this.#retry();
    const { update, now } = this.#recorder.record();
    this.#recorder.keep(update);
    this.#judged = { update, status: now.health.status };
    const decisions = await this.loop.turn();
    this.#now = { ...now, decisions: lastOf(this.loop) };
    return { update, now: this.#now, decisions };
  }

  health(): HealthReport {
    return this.metrics.health();
  }

  /** Returns the first event of a viewer's stream. */
  hello(): Hello {
    const { updates, length } = this.#recorder;
    const now = this.#now ? { now: this.#now } : {};
    return { host: hostname(), version, window: length, updates, ...now };
  }

  /** Detaches everything. */
  close(): void {
    this.loop.stop();
    for (const one of this.#watched) one.close();
    this.metrics.close();
  }

  async #retry(): Promise<void> {
    const now = performance.now();
    if (now - this.#triedAt < this.#retryMs) return;
    this.#triedAt = now;
    for (const one of this.#watched) if (one.isWorthRetrying()) await one.attach();
  }
}

/** Adds up the packet rates of each interface. */
function rates(packets: Update['packets'] = {}): Record<string, number> {
  const sum = (protocols: Update['packets'][string]) =>
    Object.values(protocols).reduce((total, [count]) => total + count, 0);
  return Object.fromEntries(Object.entries(packets).map(([iface, protocols]) => [iface, sum(protocols)]));
}

/** Returns the last decisions, the newest first. */
function lastOf(loop: ControlLoop): DecisionRow[] {
  return loop
    .decisions()
    .slice(-DECISIONS)
    .reverse()
    .map(({ time, rule, verdict, reason }) => ({ time, rule, verdict, reason }));
}

// The rules have no actions: the decisions are only shown.
function rules(interfaces: readonly string[], flood: number): ControlRule[] {
  const steady = { forMs: 2_000, cooldownMs: 10_000 };
  return [
    ...interfaces.map((iface) => ({
      name: `flood on ${iface}`,
      signal: `packets.${iface}`,
      above: flood,
      clearAt: flood / 2,
      ...steady,
    })),
    { name: 'drops', signal: 'network.drops', above: 1000, clearAt: 100, ...steady },
    { name: 'retransmits', signal: 'network.retransmits', above: 100, clearAt: 10, ...steady },
    { name: 'health', signal: 'health.ebpf_loader', below: 1, clearAt: 1, cooldownMs: 0 },
  ];
}
