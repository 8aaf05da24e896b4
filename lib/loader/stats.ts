import { measured } from '../kernel/run-stats.ts';
import type { Entry } from './loaded.ts';

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
