import { endianness } from 'node:os';

/** Whether this machine is little-endian, as DataView takes it. */
export const LITTLE_ENDIAN = endianness() === 'LE';
