import type { NativeMap, NativeMapAccess } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import type { Bytes, Key } from '../core/bytes.ts';

/** The sizes of a map's keys and slots in bytes. */
export interface MapSizes {
  readonly keySize: number;
  readonly slotSize: number;
}

/**
 * Memory for one key and one slot. Native code is bound to it once, so that a call passes no arguments. It
 * has to be shared memory or memory that no caller sees: neither can be detached.
 */
export class MapAccess {
  readonly key: Bytes;
  readonly slot: Bytes;
  readonly native: NativeMapAccess;
  readonly #keyNumber: Uint32Array | undefined;
  readonly #lookupBound = native().lookupBound;
  readonly #number: number;

  constructor(
    map: NativeMap,
    { keySize, slotSize }: MapSizes,
    Memory: typeof ArrayBuffer | typeof SharedArrayBuffer,
    lock = false,
  ) {
    this.key = new Uint8Array(new Memory(keySize));
    this.slot = new Uint8Array(new Memory(slotSize));
    this.#keyNumber = keySize === 4 ? new Uint32Array(this.key.buffer) : undefined;
    this.native = map.bind(this.key, this.slot, lock);
    this.#number = this.native.number;
  }

  /** Reads the value at the key and returns whether the key was present. */
  lookup(): boolean {
    return this.#lookupBound(this.#number) === undefined;
  }

  /** @throws TypeError, RangeError if `key` is not a key of the map */
  putKey(key: Key): void {
    if (typeof key === 'number' && this.#keyNumber) {
      if (key >>> 0 !== key) {
        throw new RangeError(`Expected an integer from 0 to 4294967295 for key but received ${key}`);
      }
      this.#keyNumber[0] = key;
    } else if (key instanceof Uint8Array && key.length === this.key.length) {
      this.key.set(key);
    } else {
      refuseBytes('key', key, this.key.length);
    }
  }
}

/** Throws the error for `value`, which should be `size` bytes. */
export function refuseBytes(name: 'key' | 'value' | 'out', value: unknown, size: number): never {
  if (!(value instanceof Uint8Array)) {
    const or = name === 'key' && size === 4 ? ' or a number' : '';
    throw new TypeError(`Expected a Uint8Array${or} for ${name} but received ${typeof value}`);
  }
  const least = name === 'out' ? 'at least ' : '';
  throw new RangeError(`Expected ${least}${size} bytes for ${name} but received ${value.length}`);
}
