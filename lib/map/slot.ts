import type { Bytes } from '../core/bytes.ts';
import type { MapAccess } from './access.ts';

/** Options of BpfMap.slot(). */
export interface SlotOptions {
  /**
   * Copy the value while holding its `struct bpf_spin_lock` (BPF_F_LOCK), so that it is consistent with
   * programs that take the lock. Default false.
   */
  lock?: boolean;
}

/**
 * Reads and writes one key at a time. Its memory is bound once: read() and write() take no key or value and
 * make no garbage.
 *
 * @example
 * const slot = map.slot(0);
 * const counters = new BigUint64Array(slot.value.buffer);
 * while (polling) if (slot.read()) use(counters);
 */
export class MapSlot {
  /** The key to read and write. Change its bytes to use another key. */
  readonly key: Bytes;
  /** The value that read() fills and write() writes, `slotSize` bytes. */
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
   * Reads the value at `key` and returns whether the key was present.
   *
   * @throws EbpfMapError as BpfMap.getInto(), and EINVAL with `lock` if the values have no lock
   * @throws EbpfStateError after close() of the map
   */
  read(): boolean {
    try {
      return this.#access.lookup();
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  /**
   * Writes the value at `key`. `flags` are those of BpfMap.set().
   *
   * @throws EbpfMapError as BpfMap.set()
   * @throws EbpfStateError after close() of the map
   */
  write(flags = 0): void {
    try {
      this.#access.native.update(flags);
    } catch (error) {
      throw this.#failure('write', error);
    }
  }
}
