import { native } from './native.ts';

/** Takes a line, without its end, and how much libbpf makes of it. */
export type LogListener = (level: 'warn' | 'info' | 'debug', line: string) => void;

let current: LogListener | undefined;

/**
 * Gives `listener` what libbpf says and no error or finding carries, line by line: of objects that load, are inspected or
 * validated, and its debug lines. It is called soon after the call that caused the line, on the thread that called onLog(), and hears of that thread's calls
 * alone. null stops it.
 *
 * @example
 * onLog((level, line) => console.error(`${level}: ${line}`));
 */
export function onLog(listener: LogListener | null): void {
  if (listener !== null && typeof listener !== 'function') {
    throw new TypeError(`Expected a function or null for the listener but received ${typeof listener}`);
  }
  current = listener ?? undefined;
  // Native code calls in the middle of its work: what the listener does has to wait.
  const later = (level: string, line: string) =>
    queueMicrotask(() => {
      if (current === listener) listener?.(level as Parameters<LogListener>[0], line);
    });
  native().onLog(listener ? later : undefined);
}
