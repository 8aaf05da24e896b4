// Node processes that use the built library, as an application would.
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const LIBRARY = new URL('../../dist/', import.meta.url);

export interface Child {
  readonly process: ChildProcess;
  /** The next line of its standard output. */
  line(): Promise<string>;
  /** Its exit status, or the signal that ended it, with all that it wrote. */
  ended(): Promise<{ status: number | string; stdout: string; stderr: string }>;
}

const running = new Set<ChildProcess>();

/** For afterEach: a test that failed half-way leaves no process. */
export function endChildren(): void {
  for (const child of running) child.kill('SIGKILL');
}
process.on('exit', endChildren);

/** Starts a module whose `ebpf` and `programs` are the library. It ends with the test process. */
export function runModule(
  body: string,
  options: { prefix?: readonly string[]; node?: readonly string[] } = {},
): Child {
  const source = `
    const ebpf = await import(${JSON.stringify(new URL('index.js', LIBRARY).href)});
    const programs = await import(${JSON.stringify(new URL('programs/index.js', LIBRARY).href)});
    ${body}`;
  const [command = process.execPath, ...rest] = [
    ...(options.prefix ?? []),
    process.execPath,
    ...(options.node ?? []),
    '--input-type=module',
    '-e',
    source,
  ];
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
  running.add(child);
  let stdout = '';
  let stderr = '';
  let given = 0;
  let wake = () => {};
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    wake();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<{ status: number | string; stdout: string; stderr: string }>(
    (resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status, signal) => {
        running.delete(child);
        wake();
        resolve({ status: status ?? signal ?? -1, stdout, stderr });
      });
    },
  );
  return {
    process: child,
    ended: () => ended,
    async line() {
      for (;;) {
        const end = stdout.indexOf('\n', given);
        if (end >= 0) {
          const text = stdout.slice(given, end);
          given = end + 1;
          return text;
        }
        if (child.exitCode !== null || child.signalCode !== null) {
          const { status, stderr } = await ended;
          throw new Error(`the child ended (${status}) before it said anything more: ${stderr}`);
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

/** The path of the CLI's entry. */
export const CLI = fileURLToPath(new URL('cli/main.js', LIBRARY));
