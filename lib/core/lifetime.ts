// Keeps handles from being garbage-collected too early, and warns if one is collected unclosed.

const owners = new WeakMap<object, object>();

/** Keeps `owner` from being garbage-collected as long as `handle` is reachable. */
export function keepAlive(handle: object, owner: object): void {
  owners.set(handle, owner);
}

// Attached links are kept alive here: garbage collection must never detach a program. One set per
// environment.
const attached = new Set<{ close(): void }>();
let exitHandled = false;

/** With `outlivesProcess`, closes the link when the process exits: the kernel would keep the attachment. */
export function root(link: { close(): void }, outlivesProcess: boolean): void {
  attached.add(link);
  if (!outlivesProcess || exitHandled) return;
  exitHandled = true;
  // The addon's environment cleanup hook runs when the event loop empties and when a worker is terminated.
  // process.exit() and an uncaught exception end the main thread without it, but emit `exit`.
  process.once('exit', () => {
    for (const entry of attached) entry.close();
  });
}

export function unroot(link: { close(): void }): void {
  attached.delete(link);
}

// The addon closes the descriptor of a collected handle. The missing close() is warned about once per handle,
// as node:fs does for a FileHandle.
const forgotten = new FinalizationRegistry<string>((what) => {
  process.emitWarning(`${what} was garbage-collected without close()`, 'EbpfWarning', 'EBPF_NOT_CLOSED');
});

export function warnIfForgotten(handle: object, what: string): void {
  forgotten.register(handle, what, handle);
}

export function closedInTime(handle: object): void {
  forgotten.unregister(handle);
}
