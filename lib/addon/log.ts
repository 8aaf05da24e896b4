import { native } from './native.ts';

/** Receives libbpf's level and one line, without its line end. */
export type LogListener = (level: 'warn' | 'info' | 'debug', line: string) => void;

let current: LogListener | undefined;

/**
 * Passes each line that libbpf logs to `listener`, except lines that already appear in an error or a finding:
 * lines about objects that load, are inspected or validated, and debug lines. The listener is called soon
 * after the call that caused the line, on the thread that called onLog(), and only for calls of that thread.
 * Pass null to stop.
 *
 * @example
 * onLog((level, line) => console.error(`${level}: ${line}`));
 */
export function onLog(listener: LogListener | null): void {
  if (listener !== null && typeof listener !== 'function') {
    throw new TypeError(`Expected a function or null for the listener but received ${typeof listener}`);
  }
  current = listener ?? undefined;
  // Native code calls this in the middle of its work, so the listener runs afterwards.
  const later = (level: string, line: string) =>
    queueMicrotask(() => {
      if (current === listener) listener?.(level as Parameters<LogListener>[0], line);
    });
  native().onLog(listener ? later : undefined);
}
