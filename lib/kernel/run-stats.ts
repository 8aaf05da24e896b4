import type { NativeStats } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfError } from '../core/errors.ts';
import { closedInTime, warnIfForgotten } from '../core/lifetime.ts';
import { permissionError } from './capabilities.ts';
import { textOf } from './text.ts';

/**
 * Makes the kernel measure how often and how long programs run, until the result is disposed.
 * BpfProgram.stats() returns the figures. Every program on the machine runs a little slower meanwhile. Kernel
 * 5.8.
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
    const { words, options } = describeFailure(error, 'the run statistics');
    const message = `enable run statistics: ${words}`;
    if (options.code === 'EPERM') throw permissionError(message, options, ['CAP_SYS_ADMIN']);
    throw new EbpfError(message, options);
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

// Other processes may have BPF_ENABLE_STATS on too, but the kernel does not report it: then only the counts
// show it.
/** Whether the kernel measures runs, by this process or by the sysctl. @internal */
export function measured(): boolean {
  return holds > 0 || textOf('/proc/sys/kernel/bpf_stats_enabled') === '1';
}
