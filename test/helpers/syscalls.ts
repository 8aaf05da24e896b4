// Processes whose system calls are known to the last one: test/helpers/syscalls.c.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { until } from './until.ts';

const SOURCE = fileURLToPath(new URL('./syscalls.c', import.meta.url));
const LITTLE = endianness() === 'LE';

let folder: string | undefined;
afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

function program(): string {
  folder ??= mkdtempSync(join(tmpdir(), 'node-ebpf-syscalls-'));
  const path = join(folder, 'syscalls');
  if (!existsSync(path)) {
    execFileSync('gcc', ['-O1', '-Wall', '-Wextra', '-Werror', '-pthread', SOURCE, '-o', path]);
  }
  return path;
}

/** Whether the kernel runs programs of i386 at all: hosts that run 64-bit code only have their guests do without. */
export function runsI386(): boolean {
  const path = `${program()}-i386`;
  const code = 'void _start(void) { __asm__ volatile("int $0x80" : : "a"(1), "b"(0)); } /* exit(0) */';
  execFileSync('gcc', ['-m32', '-nostdlib', '-static', '-x', 'c', '-', '-o', path], { input: code });
  const { error, status } = spawnSync(path);
  if (!error) return status === 0;
  if ((error as NodeJS.ErrnoException).code === 'ENOEXEC') return false;
  throw error;
}

/** Whether the kernel takes 32-bit system calls of 64-bit programs (CONFIG_IA32_EMULATION). */
export function hasCompat(): boolean {
  return spawnSync(program(), ['has-compat']).status === 0;
}

let made = 0;

/** Of one process: stopped until it is told to go on. It ends with the test. */
export class Caller implements Disposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #report: string;
  readonly #ended: Promise<number | string>;

  private constructor(works: readonly string[]) {
    const path = program();
    this.#report = `${path}-${made++}`;
    writeFileSync(this.#report, new Uint8Array(4096));
    this.#child = spawn(path, [this.#report, ...works], { stdio: ['pipe', 'ignore', 'inherit'] });
    if (this.#child.pid === undefined) throw new Error(`${path} does not start`);
    this.pid = this.#child.pid;
    this.#ended = new Promise((resolve) => {
      this.#child.on('exit', (status, signal) => resolve(status ?? signal ?? -1));
    });
  }

  /** @param works such as `files=1000,777`: see syscalls.c */
  static async start(...works: string[]): Promise<Caller> {
    const caller = new Caller(works);
    await caller.stopped();
    return caller;
  }

  /** Waits until it has stopped itself. */
  async stopped(): Promise<void> {
    await until(
      () => / T /.test(readFileSync(`/proc/${this.pid}/stat`, 'latin1')),
      () => 'it does not stop',
    );
  }

  goOn(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  signal(name: 'SIGUSR1' | 'SIGKILL'): void {
    process.kill(this.pid, name);
  }

  /** Waits until so many of its threads are inside the system call that has this number. */
  async inside(number: number, threads = 1): Promise<void> {
    await until(
      () => this.#calls().filter((call) => call === number).length === threads,
      () => `its threads are inside ${this.#calls().join(', ')}`,
    );
  }

  #calls(): number[] {
    return readdirSync(`/proc/${this.pid}/task`).map((tid) =>
      Number.parseInt(readFileSync(`/proc/${this.pid}/task/${tid}/syscall`, 'latin1'), 10),
    );
  }

  /** One of the numbers that it reports. */
  reported(index: number): number {
    const report = Uint8Array.from(readFileSync(this.#report));
    return Number(new DataView(report.buffer).getBigUint64(8 * index, LITTLE));
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  /** Its exit status, or the signal that ended it. */
  ended(): Promise<number | string> {
    return this.#ended;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
    this.#child.stdin?.destroy();
    rmSync(this.#report, { force: true });
  }
}
