import { describeFailure, EbpfError, EbpfPermissionError } from './errors.ts';
import { closedInTime, warnIfForgotten } from './lifetime.ts';
import { type NativeStats, native } from './native.ts';
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

class StatsHold implements Disposable {
  readonly #native: NativeStats;

  constructor(nativeStats: NativeStats) {
    this.#native = nativeStats;
    warnIfForgotten(this, 'what enableStats() returned');
  }

  [Symbol.dispose](): void {
    closedInTime(this);
    this.#native.close();
  }
}
