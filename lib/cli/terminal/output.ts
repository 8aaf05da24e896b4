import { debuglog, styleText } from 'node:util';
import { CommanderError } from 'commander';
import { EbpfError } from '../../core/errors.ts';

const debug = debuglog('node-ebpf');

/** The error object that `--json` prints on one line of stderr. */
interface ErrorLine {
  name: string;
  code: string;
  message: string;
  hint?: string;
}

/** Prints an error in one or two lines on stderr, and returns the exit status. */
export function report(error: unknown, { json = false } = {}): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help and --version, already printed
    if (error.code === 'commander.help') return 2; // no command: the help is on stderr
  }
  debug('%s', error instanceof Error ? error.stack : error);
  const line = describe(error);
  if (json) {
    process.stderr.write(`${JSON.stringify({ error: line })}\n`);
  } else {
    const label = (colour: 'red' | 'yellow', word: string) =>
      styleText(colour, word, { stream: process.stderr });
    process.stderr.write(`${label('red', 'error:')} ${printable(line.message)}\n`);
    if (line.hint !== undefined)
      process.stderr.write(`${label('yellow', 'hint:')} ${printable(line.hint)}\n`);
  }
  return error instanceof CommanderError ? 2 : 1;
}

function describe(error: unknown): ErrorLine {
  if (error instanceof EbpfError) {
    const { name, code, message, hint } = error;
    return hint === undefined ? { name, code, message } : { name, code, message, hint };
  }
  if (error instanceof CommanderError) {
    const [message = '', hint] = error.message.replace(/^error: /, '').split('\n');
    const help = hint?.replace(/^\((.*)\)$/, '$1') ?? 'node-ebpf --help lists the commands';
    return { name: 'UsageError', code: 'ERR_EBPF_USAGE', message, hint: help };
  }
  const thrown: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error));
  const { name, code = 'ERR_EBPF_BUG', message } = thrown;
  const hint = 'this is a bug in node-ebpf: please report it, with the output of NODE_DEBUG=node-ebpf';
  return { name, code, message, hint };
}

/** Puts foreign text on one line and escapes its control characters, which a terminal would obey. */
export function printable(text: string): string {
  return text
    .replaceAll(/\s*\n\s*/g, ' ')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function print(...lines: string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}

const lost = new AbortController();

/** Aborted when the reader of standard output is gone. */
export const stdoutLost: AbortSignal = lost.signal;

/** Ends a command quietly when the reader of its pipe leaves, as `head` does. */
export function watchStdout(): void {
  process.stderr.on('error', () => {}); // there is nowhere to report it
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (lost.signal.aborted) return;
    lost.abort();
    if (error.code === 'EPIPE' || error.code === 'EIO') return; // EIO: the terminal is gone
    const message = `write to standard output: ${error.message}`;
    process.exitCode = report(new EbpfError(message, { code: error.code ?? 'EIO' }));
  });
}
