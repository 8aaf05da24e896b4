/** Bytes, as arguments and results. A Node.js `Buffer` is one. */
export type Bytes = Uint8Array;
/** A map's key: its bytes, or a number if keys are 4 bytes wide. */
export type Key = Bytes | number;
