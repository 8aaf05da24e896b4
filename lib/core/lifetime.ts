// When handles may be collected, and what is said when they are.

const owners = new WeakMap<object, object>();

/** Keeps `owner` from being collected while `handle` is in use. */
export function keepAlive(handle: object, owner: object): void {
  owners.set(handle, owner);
}

// An attached link is rooted here: a collected handle must never take a program off its hook. One set per env.
const attached = new Set<{ close(): void }>();
let exitHandled = false;

/** `outlivesProcess`: the kernel keeps the attachment when the process ends, so that somebody has to take it off. */
export function root(link: { close(): void }, outlivesProcess: boolean): void {
  attached.add(link);
  if (!outlivesProcess || exitHandled) return;
  exitHandled = true;
  // The addon's env cleanup hook runs when the event loop empties and when a worker is terminated. process.exit() and
  // an uncaught exception end the main thread without it, and emit this.
  process.once('exit', () => {
    for (const entry of attached) entry.close();
  });
}

export function unroot(link: { close(): void }): void {
  attached.delete(link);
}

// The addon closes the descriptor of a collected handle; that somebody forgot close() is said once each, as node:fs
// does for a FileHandle.
const forgotten = new FinalizationRegistry<string>((what) => {
  process.emitWarning(`${what} was garbage-collected without close()`, 'EbpfWarning', 'EBPF_NOT_CLOSED');
});

export function warnIfForgotten(handle: object, what: string): void {
  forgotten.register(handle, what, handle);
}

export function closedInTime(handle: object): void {
  forgotten.unregister(handle);
}
