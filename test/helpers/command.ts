// A command as a process of its own, with what it has said so far.
import { type ChildProcess, spawn } from 'node:child_process';
import { until } from './until.ts';

export interface Ended {
  /** Its exit status, or the signal that ended it. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<ChildProcess>();

/** For afterEach: a test that failed half-way leaves no process. */
export function endCommands(): void {
  for (const child of running) child.kill('SIGKILL');
}
process.on('exit', endCommands);

/** `Line` is what a line of its JSON holds. */
export class Command<Line = unknown> {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';

  /** @param environment besides that of the tests, of which nothing is left that decides about colours */
  constructor([file = '', ...args]: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    this.child = spawn(file, args, {
      env: {
        ...process.env,
        TZ: 'UTC',
        TERM: 'xterm-256color',
        FORCE_COLOR: undefined,
        CI: undefined,
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this.child);
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (status, signal) => {
        running.delete(this.child);
        resolve({ status: status ?? signal ?? -1, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** The whole lines of its standard output. */
  get lines(): string[] {
    return this.stdout.split('\n').slice(0, -1);
  }

  /** Its lines, as JSON. */
  get objects(): Line[] {
    return this.lines.map((line) => JSON.parse(line) as Line);
  }

  says(text: string | RegExp, timeoutMs?: number): Promise<true> {
    return until(
      () => (typeof text === 'string' ? this.stdout.includes(text) : text.test(this.stdout)),
      () => `no ${String(text)} in ${JSON.stringify(this.stdout + this.stderr)}`,
      timeoutMs,
    );
  }
}
