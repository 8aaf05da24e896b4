import { bytes, clock, count, rate } from '../../format/units.ts';
import type { Observation } from '../../serve/observer.ts';
import type { Pair, Update } from '../../serve/update.ts';
import { print } from '../terminal/output.ts';

/** The address and interfaces of `serve`. */
export interface ServeSubject {
  readonly url: string;
  readonly interfaces: readonly string[];
  /** Whether it also sends packets. */
  readonly demo: boolean;
}

/** One way to show observations in the terminal. */
export interface ServeView {
  open(observation: Observation): void;
  show(observation: Observation): void;
  /** Shows an event. */
  log(message: string): void;
  close(observation: Observation): void;
}

/** For logs: the address, and events. */
export class QuietServeView implements ServeView {
  readonly subject: ServeSubject;

  constructor(subject: ServeSubject) {
    this.subject = subject;
  }

  open({ now: { health } }: Observation): void {
    print(`serving ${this.subject.url}`, `${health.status}: ${health.message}`);
  }

  show(_: Observation): void {}

  log(message: string): void {
    print(`${clock(new Date())} ${message}`);
  }

  close(_: Observation): void {
    print('detached');
  }
}

/** For pipes: also a line each second. */
export class LineServeView extends QuietServeView {
  override show({ update }: Observation): void {
    const speeds = Object.values(update.packets).map(sumOf);
    const packets = speeds.reduce((sum, [one]) => sum + one, 0);
    const size = speeds.reduce((sum, [, one]) => sum + one, 0);
    const { drops, retransmits } = update.network;
    print(
      `${clock(new Date(update.time))} ${rate(packets)} packets/s, ${bytes(size)}/s, ${count(callsOf(update))} system calls, ${rate(drops)} drops/s, ${rate(retransmits)} retransmits/s`,
    );
  }

  override close(observation: Observation): void {
    for (const [iface, protocols] of Object.entries(observation.now.totals)) {
      const [packets, size] = sumOf(protocols);
      print(`${iface}: ${count(packets)} packets, ${bytes(size)}`);
    }
    super.close(observation);
  }
}

/** Adds up all protocols of an interface. */
export function sumOf(protocols: Readonly<Record<string, Pair>>): Pair {
  const pairs = Object.values(protocols);
  return [pairs.reduce((sum, [packets]) => sum + packets, 0), pairs.reduce((sum, [, size]) => sum + size, 0)];
}

/** Counts the system calls of an update. */
export function callsOf({ latency }: Update): number {
  return Object.values(latency)
    .flat()
    .reduce((sum, [, calls]) => sum + calls, 0);
}
