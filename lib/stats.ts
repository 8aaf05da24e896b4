import { readFileSync } from 'node:fs';
import type { NativeStats } from './binding.ts';
import { describeFailure, EbpfError, EbpfPermissionError } from './errors.ts';
import { closedInTime, warnIfForgotten } from './lifetime.ts';
import type { Entry } from './loaded.ts';
import { native } from './native.ts';
import { missingCapabilities, permissionHint } from './privileges.ts';

/**
 * Has the kernel measure how often and how long programs run, until the result is disposed of: BpfProgram.stats() tells.
 * Every program on the machine runs a little slower meanwhile. Linux 5.8.
 *
 * @throws EbpfPermissionError without CAP_SYS_ADMIN
 * @example
 * using measuring = enableStats();
 * await traffic();
 * console.log(program.stats().runCount);
 */
export function enableStats(): Disposable {
  try {
    return new StatsHold(native().enableStats());
  } catch (error) {
    const { words, log: _, ...options } = describeFailure(error, 'the run statistics');
    const message = `enable run statistics: ${words}`;
    if (options.code !== 'EPERM') throw new EbpfError(message, options);
    const missing = missingCapabilities(['CAP_SYS_ADMIN']);
    throw new EbpfPermissionError(message, { ...options, missing, hint: permissionHint(missing) });
  }
}

let holds = 0;

class StatsHold implements Disposable {
  readonly #native: NativeStats;
  #held = true;

  constructor(nativeStats: NativeStats) {
    this.#native = nativeStats;
    holds++;
    warnIfForgotten(this, 'what enableStats() returned');
  }

  [Symbol.dispose](): void {
    if (!this.#held) return;
    this.#held = false;
    holds--;
    closedInTime(this);
    this.#native.close();
  }
}

/** What a loader has, and what the kernel has counted of it. */
export interface LoaderStats {
  /** Those that are loaded; 1 with a handle. */
  programs: number;
  /** Those that the loader knows; whether they are still there health() tells. */
  attachments: number;
  /** Runs of all programs; absent where nobody has the kernel measure them: enableStats(), kernel.bpf_stats_enabled. */
  runCount?: number;
  /** What those runs took together, in nanoseconds; absent where `runCount` is. */
  runTimeNs?: number;
  /** What the kernel charges for the maps now. */
  mapBytes: number;
  /** Errors that the loader threw, by `code`, since it was made. */
  errors: Record<string, number>;
  /** Those of attempts to attach, by interface. */
  attachErrors: AttachErrors[];
}

/** Attempts to attach that failed. */
export interface AttachErrors {
  /** As it was named; '' where the program attaches to no interface. */
  interface: string;
  /** As EbpfError.code. */
  code: string;
  /** Since the loader was made. */
  count: number;
}

/** EbpfLoader.getStats(). @internal */
export function loaderStats(
  entries: readonly Entry[],
  errors: Readonly<Record<string, number>>,
  attachErrors: readonly AttachErrors[],
): LoaderStats {
  const maps = new Map(
    entries.flatMap(({ object }) => Object.values(object.maps)).map((map) => [map.id, map] as const),
  );
  const runs = entries.map(({ program }) => program.stats());
  const runCount = runs.reduce((sum, run) => sum + run.runCount, 0);
  return {
    programs: entries.length,
    attachments: entries.reduce((sum, entry) => sum + entry.attachments.length, 0),
    ...(runCount > 0 || measured()
      ? { runCount, runTimeNs: runs.reduce((sum, run) => sum + run.runTimeNs, 0) }
      : {}),
    mapBytes: [...maps.values()].reduce((sum, map) => sum + map.info().memoryBytes, 0),
    errors: { ...errors },
    attachErrors: attachErrors.map((entry) => ({ ...entry })),
  };
}

// Other processes may hold BPF_ENABLE_STATS too, which nothing tells: then the counts do.
function measured(): boolean {
  if (holds > 0) return true;
  try {
    return readFileSync('/proc/sys/kernel/bpf_stats_enabled', 'utf8').trim() === '1';
  } catch {
    return false;
  }
}
