import { ticks } from './pace.ts';
import type { View } from './view.ts';

export interface WatchOptions<S> {
  readonly view: View<S>;
  sample(): S;
  /** Detaches, before the last sample is shown as the final one. */
  detach?(): void;
  /** Whether the next sample is the last one. */
  isLast?(): boolean;
  /** Throws if there is nothing left to sample. */
  check?(): void;
  /** Default: one second. */
  readonly intervalMs?: number;
  /** Default: until `signal` is aborted. */
  readonly seconds: number | undefined;
  readonly signal: AbortSignal;
}

/** Samples and shows the samples, once per interval and once at the end. */
export async function watch<S>(options: WatchOptions<S>): Promise<void> {
  const { view, intervalMs = 1000, seconds, signal } = options;
  let last = options.sample();
  view.open(last);
  try {
    for await (const _ of ticks(intervalMs, seconds, signal)) {
      const isLast = options.isLast?.() ?? false;
      last = options.sample();
      view.show(last);
      options.check?.();
      if (isLast) break;
    }
  } finally {
    options.detach?.();
    view.close(last);
  }
}
