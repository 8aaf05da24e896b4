/** Bytes, taken and given: a Node `Buffer` will do. */
export type Bytes = Uint8Array;
/** A map's key: its bytes, or a number where keys are 4 bytes wide. */
export type Key = Bytes | number;
