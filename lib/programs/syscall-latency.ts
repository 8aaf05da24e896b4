import { putCgroup } from '../attach/cgroup.ts';
import { EbpfAttachError, EbpfLoadError } from '../core/errors.ts';
import { pidNamespace } from '../kernel/pid-namespace.ts';
import type { MapReader } from '../map/reader.ts';
import { type BpfObject, loadObject } from '../object/object.ts';
import { keepBundled } from './bundled.ts';
import { Log2Histogram } from './log2-histogram.ts';
import { rowsByNumber, SYSCALLS, type SyscallName } from './syscall-numbers.ts';

const OBJECT = new URL('./bpf/syscall_latency.bpf.o', import.meta.url);

const SLOTS = 36; // LATENCY_SLOTS, then count and sum_ns

/** Where the calls are seen: two raw tracepoints for all of them, or two kprobes for each. */
export type SyscallFlavour = 'raw_tp' | 'kprobe';
const FLAVOURS: readonly SyscallFlavour[] = ['raw_tp', 'kprobe'];

/** Which calls are measured, whose, and where they are seen. */
export interface SyscallLatencyOptions {
  /**
   * Default `auto`: raw tracepoints (kernel 4.17), or kprobes where the kernel has no tracepoints for system calls. Kprobes
   * cost nothing where a program makes other calls than these; of calls that block, kretprobes see only as many at once as
   * the kernel has instances for, twice its CPUs: what they miss is in lost().
   */
  via?: 'auto' | SyscallFlavour;
  /** Default: all of read, write, sendto, recvfrom, connect, accept and accept4. */
  syscalls?: readonly string[];
  /** Only those of this process, of all its threads; not of its children. A number as `process.pid` has it. */
  pid?: number;
  /** Only those of processes in this cgroup, or below it: the path of a folder in a cgroup v2 file system. */
  cgroup?: string;
  /** Not those of this process. Default false. */
  excludeSelf?: boolean;
  /** For how many threads there is room that make measured calls and live; the calls of others are in lost(). Default 32,768. */
  maxThreads?: number;
}

/** Calls that were not counted, since attach. */
export interface LostCalls {
  /** More than `maxThreads` threads that made measured calls were alive. */
  noRoom: number;
  /** They began, and their end was not seen. One that still goes on is not among them. */
  noReturn: number;
  /** Runs of the programs that the kernel left out, of whatever process (kernel 5.12 counts them). */
  notRun: number;
}

/**
 * Measures how long system calls take, from the kernel's taking them in to their return, whatever they return. A call
 * that was under way at attach is not counted. One that a signal interrupts ends there; what the kernel restarts is another
 * call. Calls of 32-bit programs are not counted.
 *
 * Linux 5.10; x64 and arm64.
 *
 * @example
 * using latency = await SyscallLatency.attach({ syscalls: ['read', 'write'], excludeSelf: true });
 * for (const [name, calls] of Object.entries(latency.read())) {
 *   console.log(name, calls.count, calls.percentile(99).ns);
 * }
 */
export class SyscallLatency implements Disposable {
  /** What was attached. */
  readonly via: SyscallFlavour;
  /**
   * Its counters, for who polls them: a row for each of read, write, sendto, recvfrom, connect, accept and accept4, measured
   * or not, of 38 numbers: the slots of the histogram, the count, the nanoseconds. Summed over the CPUs. close() closes it.
   *
   * @example
   * latency.reader.read();
   * const reads = latency.reader.values[0 * latency.reader.fields + 36];
   */
  readonly reader: MapReader;
  readonly #object: BpfObject;
  readonly #lost: MapReader;
  readonly #syscalls: readonly SyscallName[];

  private constructor(object: BpfObject, via: SyscallFlavour, syscalls: readonly SyscallName[]) {
    this.via = via;
    this.#object = object;
    this.#syscalls = syscalls;
    this.reader = object.map('syscall_latency').reader();
    this.#lost = object.map('lost').reader({ via: 'lookup' });
  }

  /**
   * Loads the programs and attaches them.
   *
   * @throws EbpfAttachError `ESRCH` where there is no such process, `ERR_EBPF_NO_CGROUP`; EbpfNotSupportedError on another
   *   architecture, and for kprobes where the kernel has none; EbpfLoadError, EbpfPermissionError. Nothing is left then
   */
  static async attach(options: SyscallLatencyOptions = {}): Promise<SyscallLatency> {
    const plan = checked(options);
    return firstFlavour(plan.via, (via) => SyscallLatency.#attach(via, plan));
  }

  static async #attach(via: SyscallFlavour, plan: Plan): Promise<SyscallLatency> {
    const { syscalls, globals, maxThreads, cgroup } = plan;
    // Ends before beginnings: a call that is seen to begin is seen to end.
    const wanted = [
      'process_exit',
      'process_exec',
      ...(via === 'raw_tp' ? ['sys_exit', 'sys_enter'] : []),
      ...(via === 'kprobe' ? ['exit', 'enter'].flatMap((at) => syscalls.map((name) => `${at}_${name}`)) : []),
    ];
    const load = (name: string) => [name, { load: wanted.includes(name) }] as const;
    const object = await loadObject(OBJECT, {
      globals,
      maps:
        maxThreads === undefined
          ? {}
          : { started: { maxEntries: maxThreads }, lane_owners: { maxEntries: maxThreads } },
      programs: Object.fromEntries(ALL_PROGRAMS.map(load)),
    });
    try {
      if (cgroup !== undefined) putCgroup('measure system calls', object.map('cgroups'), cgroup);
      const attachments = wanted.map((name) => {
        const program = object.program(name);
        return { type: program.type, link: program.attach() };
      });
      const latency = new SyscallLatency(object, via, syscalls);
      keepBundled(latency, { name: 'syscall_latency', object, attachments });
      return latency;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** A histogram for each system call that is measured, of one look at the map: totals since attach, all CPUs. */
  read(): Record<string, Log2Histogram> {
    this.reader.read();
    return Object.fromEntries(this.#syscalls.map((name) => [name, this.#histogram(SYSCALLS.indexOf(name))]));
  }

  /** What is missing from the histograms. All zero is the rule. */
  lost(): LostCalls {
    this.#lost.read();
    const [noRoom = 0, noReturn = 0] = this.#lost.values;
    const runs = Object.values(this.#object.programs).map((program) => program.stats().recursionMisses);
    return { noRoom, noReturn, notRun: runs.reduce((sum, misses) => sum + misses, 0) };
  }

  /** Detaches and unloads. Idempotent. */
  close(): void {
    this.#object.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #histogram(row: number): Log2Histogram {
    const { values, fields } = this.reader;
    const at = row * fields;
    const slots = Float64Array.from(values.subarray(at, at + SLOTS));
    return new Log2Histogram(values[at + SLOTS] ?? 0, values[at + SLOTS + 1] ?? 0, slots);
  }
}

const ALL_PROGRAMS: readonly string[] = [
  'sys_enter',
  'sys_exit',
  'process_exit',
  'process_exec',
  ...SYSCALLS.flatMap((name) => [`enter_${name}`, `exit_${name}`]),
];

/** Each flavour in turn, as long as the kernel has no place for it. @internal */
export async function firstFlavour<T>(
  via: 'auto' | SyscallFlavour,
  attempt: (via: SyscallFlavour) => Promise<T>,
): Promise<T> {
  if (via !== 'auto') return attempt(via);
  try {
    return await attempt('raw_tp');
  } catch (error) {
    // Without CONFIG_FTRACE_SYSCALLS BTF does not name the tracepoints. Anything else would be the same with kprobes, or worse.
    if (!(error instanceof EbpfLoadError) || error.code !== 'ESRCH') throw error;
    return attempt('kprobe');
  }
}

interface Plan {
  via: 'auto' | SyscallFlavour;
  syscalls: readonly SyscallName[];
  globals: Record<string, number | bigint | boolean | Uint8Array>;
  maxThreads: number | undefined;
  cgroup: string | undefined;
}

function checked(options: SyscallLatencyOptions): Plan {
  const { via = 'auto', syscalls = SYSCALLS, pid, cgroup, excludeSelf = false, maxThreads } = options;
  if (via !== 'auto' && !FLAVOURS.includes(via)) {
    throw new TypeError(`Expected auto, raw_tp or kprobe for via but received ${String(via)}`);
  }
  if (cgroup !== undefined && typeof cgroup !== 'string') {
    throw new TypeError(`Expected a path for cgroup but received ${typeof cgroup}`);
  }
  if (typeof excludeSelf !== 'boolean') {
    throw new TypeError(`Expected a boolean for excludeSelf but received ${typeof excludeSelf}`);
  }
  if (pid !== undefined) checkProcess(pid);
  const names = checkNames(syscalls);
  const only = pid === undefined ? {} : { only_tgid: pid };
  const except = excludeSelf ? { except_tgid: process.pid } : {};
  return {
    via,
    syscalls: names,
    maxThreads,
    cgroup,
    globals: {
      rows: rowsByNumber(names),
      in_cgroup: cgroup !== undefined,
      ...only,
      ...except,
      ...(pid !== undefined || excludeSelf ? namespaceGlobals() : {}),
    },
  };
}

function checkProcess(pid: number): void {
  if (!Number.isInteger(pid) || pid < 1 || pid > 2 ** 22) {
    throw new RangeError(`Expected a process id from 1 to ${2 ** 22} for pid but received ${String(pid)}`);
  }
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') return; // EPERM: somebody else's
    throw new EbpfAttachError(`measure system calls of process ${pid}: there is no such process`, {
      code: 'ESRCH',
      target: String(pid),
      hint: 'pid is a process id of the PID namespace that this process is in',
    });
  }
}

function checkNames(names: readonly string[]): SyscallName[] {
  if (!Array.isArray(names) || names.length === 0) {
    throw new TypeError(`Expected at least one of ${SYSCALLS.join(', ')} in syscalls`);
  }
  return [...new Set<string>(names)].map((name) => {
    const known = SYSCALLS.find((row) => row === name);
    if (known !== undefined) return known;
    throw new TypeError(`Expected ${SYSCALLS.join(', ')} in syscalls but received ${String(name)}`);
  });
}

// Its numbers are the kernel's own, of every process of the machine; of another, processes in those below it have none.
function namespaceGlobals(): Record<string, bigint> {
  const { initial, dev, ino } = pidNamespace();
  return initial ? {} : { pidns_dev: dev, pidns_ino: ino };
}
