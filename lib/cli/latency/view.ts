import { clock, duration, latency, plural, rate } from '../../format/units.ts';
import { type LatencySample, mapValues } from '../../meters/latency-meter.ts';
import type { Log2Histogram } from '../../programs/log2-histogram.ts';
import type { LostCalls, SyscallFlavour } from '../../programs/syscall-latency.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import type { View } from '../terminal/view.ts';

/** The system calls that `latency` measures. */
export interface LatencySubject {
  /** The kind of hook that the programs are attached to. */
  via: SyscallFlavour;
  /** The processes that are measured, in words. */
  of: string;
}

export function title({ via, of }: LatencySubject): string {
  return `system calls of ${printable(of)}, via ${via}`;
}

/** The calls that are missing from the histograms, in words; undefined if none are. */
export function lostWords({ noRoom, noReturn, notRun }: LostCalls): string | undefined {
  const words = [
    ...(noRoom > 0 ? [`${plural(noRoom, 'call')} not measured (too many threads)`] : []),
    ...(noReturn > 0 ? [`${plural(noReturn, 'call')} with no exit seen`] : []),
    ...(notRun > 0 ? [`${plural(notRun, 'run')} skipped by the kernel`] : []),
  ];
  return words.length > 0 ? `lost: ${words.join(', ')}` : undefined;
}

/** For programs: one JSON object per line. The time of no calls and an infinite errorFactor are null. */
export class LatencyJson implements View<LatencySample> {
  readonly #subject: LatencySubject;

  constructor(subject: LatencySubject) {
    this.#subject = subject;
  }

  open(): void {}

  show({ time, totals, last, rates, lost }: LatencySample): void {
    printJson({
      time: time.toISOString(),
      via: this.#subject.via,
      totals: mapValues(totals, ({ count, sumNs, slots }) => ({ count, sumNs, slots: [...slots] })),
      rates,
      percentiles: mapValues(last, (calls) => ({ p50: calls.percentile(50), p99: calls.percentile(99) })),
      lost,
    });
  }

  close(): void {}
}

const CELL = 29;

/** For pipes and logs: one line per interval under one head. */
export class LatencyLines implements View<LatencySample> {
  readonly #subject: LatencySubject;

  constructor(subject: LatencySubject) {
    this.#subject = subject;
  }

  open({ totals }: LatencySample): void {
    print(`${title(this.#subject)}: calls/s, p50 and p99`);
    print(`time    ${Object.keys(totals).map(cell).join('')}`);
  }

  show({ time, last, rates }: LatencySample): void {
    print(`${clock(time)}${cells(last, (_, name) => rate(rates[name] ?? 0))}`);
  }

  close({ totals, elapsed, lost }: LatencySample): void {
    print(`total   ${cells(totals, ({ count }) => count.toLocaleString('en-US'))}`);
    const words = lostWords(lost);
    if (words !== undefined) print(words);
    print(`detached after ${duration(elapsed)}`);
  }
}

function cells(
  histograms: Record<string, Log2Histogram>,
  words: (histogram: Log2Histogram, name: string) => string,
): string {
  return Object.entries(histograms)
    .map(([name, calls]) => {
      const [p50, p99] = [50, 99].map((p) => latency(calls.percentile(p).ns).padStart(7));
      return cell(`${words(calls, name)} ${p50} ${p99}`);
    })
    .join('');
}

function cell(text: string): string {
  return ` ${text.padStart(CELL - 1)}`;
}
