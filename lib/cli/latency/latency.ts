import { type Command, InvalidArgumentError, Option } from 'commander';
import { LatencyMeter, type LatencySample } from '../../meters/latency-meter.ts';
import type { SyscallFlavour, SyscallLatency } from '../../programs/syscall-latency.ts';
import { SYSCALLS } from '../../programs/syscall-numbers.ts';
import { positiveNumber } from '../terminal/arguments.ts';
import { chooseView } from '../terminal/choose-view.ts';
import { endOfRun } from '../terminal/pace.ts';
import { watch } from '../terminal/watch.ts';
import { LatencyJson, LatencyLines, type LatencySubject } from './view.ts';

interface LatencyOptions {
  pid?: number;
  cgroup?: string;
  syscalls?: string[];
  via: 'auto' | SyscallFlavour;
  seconds?: number;
  json?: true;
}

export function addLatency(program: Command): void {
  program
    .command('latency')
    .description('measure how long system calls take, once per second')
    .option(
      '--pid <n>',
      'only system calls of this process; the command ends when the process does',
      processId,
    )
    .option('--cgroup <path>', 'only system calls of processes in this cgroup (v2) or below it')
    .option('--syscalls <names>', `comma-separated, from ${SYSCALLS.join(', ')}`, syscallNames)
    .addOption(
      new Option('--via <flavour>', 'raw tracepoints, or kprobes if the kernel has no raw tracepoints')
        .choices(['auto', 'raw_tp', 'kprobe'])
        .default('auto'),
    )
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
Calls of the command itself are left out. p50 and p99 are midpoints of slots whose width doubles: the true value is
within a factor of 1.41. ^C or SIGTERM detaches and prints the totals. Needs CAP_BPF and CAP_PERFMON.
A terminal shows a table, a pipe gets one line per second; the last one is taken at the end.

Examples:
  $ node-ebpf latency
  $ node-ebpf latency --pid 4711 --syscalls read,write
  $ node-ebpf latency --seconds 10 --json | jq .totals.read.count`,
    )
    .action(latency);
}

async function latency(options: LatencyOptions): Promise<void> {
  const { pid, cgroup, syscalls, via } = options;
  const end = endOfRun();
  try {
    const { SyscallLatency } = await import('../../programs/index.ts');
    const measuring = await SyscallLatency.attach({
      via,
      excludeSelf: true,
      ...(pid === undefined ? {} : { pid }),
      ...(cgroup === undefined ? {} : { cgroup }),
      ...(syscalls === undefined ? {} : { syscalls }),
    });
    try {
      await show(measuring, options, end.signal);
    } finally {
      measuring.close();
    }
  } finally {
    end.forget();
  }
}

async function show(
  measuring: SyscallLatency,
  { pid, cgroup, seconds, json }: LatencyOptions,
  signal: AbortSignal,
): Promise<void> {
  const meter = new LatencyMeter(measuring);
  const subject: LatencySubject = {
    via: measuring.via,
    of: pid !== undefined ? `process ${pid}` : cgroup !== undefined ? `cgroup ${cgroup}` : 'all processes',
  };
  const view = await chooseView<LatencySample>(json, {
    json: () => new LatencyJson(subject),
    lines: () => new LatencyLines(subject),
    async screen() {
      const { latencyFrame } = await import('./frame.ts');
      return (sample, final) => (area) => latencyFrame(subject, sample, final, area);
    },
  });
  await watch({
    view,
    sample: () => meter.sample(),
    detach: () => measuring.close(),
    // Asked before the last sample, which then has the last calls of the process.
    isLast: () => pid !== undefined && !isRunning(pid),
    seconds,
    signal,
  });
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** @internal */
export function processId(text: string): number {
  const pid = Number(text);
  if (!/^\d+$/.test(text) || pid < 1 || pid > 2 ** 22) {
    throw new InvalidArgumentError('Expected a process ID.');
  }
  return pid;
}

/** @internal */
export function syscallNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !SYSCALLS.some((known) => known === name));
  if (unknown === undefined) return names;
  throw new InvalidArgumentError(`Expected some of ${SYSCALLS.join(', ')}.`);
}
