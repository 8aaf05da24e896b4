/** The limits that validate() checks an object against. */
export interface ValidationLimits {
  /** Maximum size of the file in bytes. Default 32 MiB. */
  fileBytes: number;
  /**
   * Maximum number of instructions of a program and the functions it calls. Default 1,000,000, the kernel's
   * limit.
   */
  instructions: number;
  /** Maximum number of entries of a map. Default 2^32 - 1. */
  maxEntries: number;
  /** Maximum size in bytes of a full map's entries, over all CPUs. Default: no limit. */
  mapBytes: number;
}
