import type { Bytes } from '../core/bytes.ts';
import type { MapAccess } from './access.ts';

/** How a slot is read. */
export interface SlotOptions {
  /** Copy the value under its `struct bpf_spin_lock` (BPF_F_LOCK): whole, as programs that take it change it. Default false. */
  lock?: boolean;
}

/**
 * One hot key: its memory is bound once, so that reading and writing take no argument and make no garbage.
 *
 * @example
 * const slot = map.slot(0);
 * const counters = new BigUint64Array(slot.value.buffer);
 * while (polling) if (slot.read()) use(counters);
 */
export class MapSlot {
  /** The key that is read and written; change it to move on. */
  readonly key: Bytes;
  /** `slotSize` bytes: what read() fills and write() takes. */
  readonly value: Bytes;
  readonly #access: MapAccess;
  readonly #failure: (verb: string, error: unknown) => unknown;

  /** @internal */
  constructor(access: MapAccess, failure: (verb: string, error: unknown) => unknown) {
    this.key = access.key;
    this.value = access.slot;
    this.#access = access;
    this.#failure = failure;
  }

  /**
   * Reads the value at `key`, and tells whether it was there.
   *
   * @throws EbpfMapError as BpfMap.getInto(), EINVAL with `lock` where the values have none; EbpfStateError after the map's close()
   */
  read(): boolean {
    try {
      return this.#access.lookup();
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  /**
   * Writes the value at `key`; `flags` as for BpfMap.set().
   *
   * @throws EbpfMapError as BpfMap.set(); EbpfStateError after the map's close()
   */
  write(flags = 0): void {
    try {
      this.#access.native.update(flags);
    } catch (error) {
      throw this.#failure('write', error);
    }
  }
}
