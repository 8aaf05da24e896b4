import { readdirSync, readFileSync } from 'node:fs';
import { describeFailure, EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { kernelBefore } from '../kernel/release.ts';
import { textOf } from '../kernel/text.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';
import { checkPid } from './uprobe.ts';

// Perf events: sampling a clock or a counter of the processor at a frequency.

/** Options of attachPerfEvent(). */
export interface PerfEventOptions {
  /**
   * The event to sample. Every machine has `cpu-clock`; `cycles` and `instructions` need hardware counters.
   */
  event: 'cpu-clock' | 'cycles' | 'instructions';
  /** Samples per second and CPU while the event occurs. */
  frequency: number;
  /**
   * Sample only this CPU. Default: every CPU that is online, or with `pid`, the CPUs that the process runs
   * on.
   */
  cpu?: number;
  /**
   * Sample only this process: its present threads, and from kernel 5.13 on the threads that it starts later.
   */
  pid?: number;
}

// linux/perf_event.h: PERF_TYPE_HARDWARE 0, PERF_TYPE_SOFTWARE 1, and their numbers.
const EVENTS = {
  cycles: { type: 0, config: 0 },
  instructions: { type: 0, config: 1 },
  'cpu-clock': { type: 1, config: 0 },
} as const;

/** @internal */
export function attachPerfEvent(program: ProgramRef, options: PerfEventOptions): Attached {
  const { event, frequency, cpu, pid } = options;
  const what = `attach ${program.name} to ${event}`;
  const known = Object.hasOwn(EVENTS, event) ? EVENTS[event] : undefined;
  if (known === undefined) {
    throw new TypeError(`Expected ${Object.keys(EVENTS).join(', ')} for event but received ${String(event)}`);
  }
  checkCount('frequency', frequency, 1);
  if (cpu !== undefined) checkCount('cpu', cpu, 0);
  checkPid(pid);
  requireType(what, program, ['perf_event'], event);
  const cpus = cpu !== undefined ? [cpu] : pid !== undefined ? [] : onlineCpus();
  const threads = pid === undefined ? [] : threadsOf(what, pid);
  const inherit = pid !== undefined && !kernelBefore('5.13');
  try {
    const { type, config } = known;
    return {
      native: program.native.attachPerfEvent(type, config, frequency, threads, cpus, inherit),
      target: [
        event,
        cpu === undefined ? '' : ` on CPU ${cpu}`,
        pid === undefined ? '' : ` of process ${pid}`,
      ].join(''),
    };
  } catch (error) {
    throw perfEventFailure(what, program, options, error);
  }
}

function perfEventFailure(what: string, program: ProgramRef, options: PerfEventOptions, error: unknown) {
  const { event, frequency, cpu } = options;
  const { words, options: failed } = describeFailure(error, `program ${program.name}`);
  // Both mean that the kernel has no driver for the processor's counters, as in many virtual machines.
  if (EVENTS[event].type === 0 && (failed.code === 'ENOENT' || failed.code === 'EOPNOTSUPP')) {
    return new EbpfNotSupportedError(`${what}: this machine does not have the hardware counter`, {
      ...failed,
      code: 'ERR_EBPF_NOT_SUPPORTED',
      feature: 'hardware counters',
      hint: 'virtual machines often have none: use cpu-clock, which every machine has',
    });
  }
  const refuse = (hint: string) =>
    new EbpfAttachError(`${what}: ${words}`, { ...failed, target: event, hint });
  const most = textOf('/proc/sys/kernel/perf_event_max_sample_rate');
  if (failed.code === 'EINVAL' && most !== undefined && frequency > Number(most)) {
    return refuse(`kernel.perf_event_max_sample_rate is ${most}`);
  }
  if (failed.code === 'ENODEV' || (failed.code === 'EINVAL' && cpu !== undefined)) {
    return refuse(`CPU ${cpu} is not online: ${readOnline()} are`);
  }
  if (failed.code === 'ESRCH') return refuse('the process has ended');
  return attachFailure(what, program.name, { kind: 'perf_event', target: event }, error);
}

function threadsOf(what: string, pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch (error) {
    throw new EbpfAttachError(`${what}: there is no process ${pid}`, {
      code: 'ESRCH',
      target: `process ${pid}`,
      cause: error,
    });
  }
}

/** `0-3,6` */
function readOnline(): string {
  return readFileSync('/sys/devices/system/cpu/online', 'latin1').trim();
}

function onlineCpus(): number[] {
  return readOnline()
    .split(',')
    .flatMap((range) => {
      const [from = 0, to = from] = range.split('-').map(Number);
      return Array.from({ length: to - from + 1 }, (_, i) => from + i);
    });
}

function checkCount(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least && value < 2 ** 31) return;
  throw new RangeError(`Expected an integer from ${least} for ${name} but received ${String(value)}`);
}
