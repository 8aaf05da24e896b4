/** What a loop knows of time. A test has one of its own, and no timer. */
export interface Clock {
  /** Milliseconds that only go forward. */
  now(): number;
  /** Calls `f` again and again; the result ends it. */
  every(milliseconds: number, f: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  every(milliseconds, f) {
    const timer = setInterval(f, milliseconds);
    return () => clearInterval(timer);
  },
};
