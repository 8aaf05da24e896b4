import { InvalidArgumentError } from 'commander';
import { LITTLE_ENDIAN } from '../../core/endian.ts';

/** A key from the command line: a number, or bytes in memory order. */
export type KeyText = { number: bigint } | { bytes: Uint8Array };

/** Parses `7`, `0a:00:00:01` or `0x0a000001`. */
export function parseKey(text: string): KeyText {
  if (/^\d+$/.test(text)) return { number: BigInt(text) };
  const hex = /^[\da-f]{1,2}(:[\da-f]{1,2})+$/i.test(text)
    ? text.split(':').map((byte) => byte.padStart(2, '0'))
    : /^0x([\da-f]{2})+$/i.test(text)
      ? text.slice(2).match(/../g)
      : null;
  if (hex === null) {
    throw new InvalidArgumentError('Expected a number, or bytes such as 0a:00:00:01 or 0x0a000001.');
  }
  return { bytes: Uint8Array.from(hex, (byte) => Number.parseInt(byte, 16)) };
}

/** Returns a key as `size` bytes; a number is stored in the machine's byte order. */
export function keyBytes(key: KeyText, size: number): Uint8Array {
  if ('bytes' in key) {
    if (key.bytes.length === size) return key.bytes;
    throw new InvalidArgumentError(`Expected a key of ${size} bytes but received ${key.bytes.length}.`);
  }
  if (![1, 2, 4, 8].includes(size)) {
    throw new InvalidArgumentError(
      `Expected the ${size} bytes of the key, such as 0a:00:00:01, but received a number.`,
    );
  }
  if (key.number >= 1n << BigInt(8 * size)) {
    throw new InvalidArgumentError(`Expected a key of ${size} bytes but received ${key.number}.`);
  }
  const bytes = Array.from({ length: size }, (_, i) => Number((key.number >> BigInt(8 * i)) & 0xffn));
  return Uint8Array.from(LITTLE_ENDIAN ? bytes : bytes.reverse());
}

/** Formats bytes as `0a:00:00:01`, which parseKey() accepts. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
}
