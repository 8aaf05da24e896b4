/** What a caller allows of an object. */
export interface ValidationLimits {
  /** The largest file that is read, in bytes. Default 32 MiB. */
  fileBytes: number;
  /** The most instructions of one program, with the functions that it calls. Default 1,000,000, the kernel's. */
  instructions: number;
  /** The most entries of one map. Default: what 32 bits hold. */
  maxEntries: number;
  /** The most bytes that one map's entries take when it is full, over all CPUs. Default: no limit. */
  mapBytes: number;
}
