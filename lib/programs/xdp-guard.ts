import type { XdpLink } from '../attach/xdp.ts';
import { LITTLE_ENDIAN } from '../core/endian.ts';
import { EbpfMapError } from '../core/errors.ts';
import type { TriedMode } from '../core/xdp-mode.ts';
import { findInterface, type NetTarget } from '../kernel/interfaces.ts';
import type { MapReader } from '../map/reader.ts';
import { type BpfObject, loadObject } from '../object/object.ts';
import { type NegotiatedXdpOptions, negotiateXdp } from '../program/xdp-negotiation.ts';
import { keepBundled } from './bundled.ts';
import { parsePrefix } from './prefix.ts';
import type { Tally } from './xdp-counter.ts';

const OBJECT = new URL('./bpf/xdp_guard.bpf.o', import.meta.url);
const MOST_RULES = 1024; // GUARD_RULES
const FIELDS = ['passed.packets', 'passed.bytes', 'dropped.packets', 'dropped.bytes'] as const;
const BPF_F_LOCK = 4;
const NS = 1e9;
// A packet in 292 years; and what a double says exactly of a packet's time.
const SLOWEST = 1e-6;
const FASTEST = 1e9;

/** How much of a source may pass. */
export interface RateLimit {
  /** 1e-6 to 1e9, of all sources of the prefix together. */
  packetsPerSecond: number;
  /** How many may come at once after a pause. Default 1. */
  burst?: number;
}

/** A rule of an XdpGuard, and what it did so far. */
export interface GuardRule {
  /** `10.0.0.0/8`, `2001:db8::/32`. */
  prefix: string;
  /** Absent where everything is dropped. */
  limit?: Required<RateLimit>;
  /** Since the rule was made or changed. */
  passed: Tally;
  /** Since the rule was made or changed. */
  dropped: Tally;
}

interface Known {
  row: number;
  key: Uint8Array;
  limit?: Required<RateLimit>;
  /** What the row counted for others before. */
  from: Float64Array;
}

/**
 * Drops what an interface receives from listed sources, or what of it is above a rate, before the network stack sees it.
 * Everything else passes. Of prefixes that hold each other the longest decides. It counts what passed and what it dropped.
 *
 * Kernel 5.10 and newer. An interface has one XDP program: XdpGuard and XdpCounter are for different ones.
 *
 * @example
 * using guard = await XdpGuard.attach({ iface: 'eth0' });
 * guard.block('203.0.113.0/24');
 * guard.limit('2001:db8::/32', { packetsPerSecond: 1000, burst: 100 });
 * for (const { prefix, dropped } of guard.rules()) console.log(prefix, dropped.packets);
 */
export class XdpGuard implements Disposable {
  /** Its state() and `mode` say how the program is attached. The guard's close() closes it. */
  readonly link: XdpLink;
  /** The modes that the interface could not do, before the one it has. */
  readonly tried: readonly TriedMode[];
  readonly #object: BpfObject;
  readonly #totals: MapReader;
  readonly #counts: MapReader;
  readonly #known = new Map<string, Known>();
  // Rows in the order in which they fell free: what is on its way through a rule that is lifted still counts there.
  readonly #free = Array.from({ length: MOST_RULES }, (_, row) => row);

  private constructor(object: BpfObject, link: XdpLink, tried: readonly TriedMode[]) {
    this.link = link;
    this.tried = tried;
    this.#object = object;
    this.#totals = object.map('guard_totals').reader();
    this.#counts = object.map('guard_counts').reader();
  }

  /**
   * Loads the program and attaches it: in the driver where that can, in the stack otherwise, unless `mode` says more. There
   * are no rules then.
   *
   * @throws EbpfAttachError, EbpfLoadError, EbpfPermissionError; nothing is left behind then
   */
  static async attach(options: NetTarget & NegotiatedXdpOptions): Promise<XdpGuard> {
    const object = await loadObject(OBJECT);
    try {
      const program = object.program('xdp_guard');
      const { name: iface } = findInterface(options);
      const { link, tried } = negotiateXdp(program, options, 'drv');
      const guard = new XdpGuard(object, link, tried);
      keepBundled(guard, { name: 'xdp_guard', object, attachments: [{ type: program.type, link }], iface });
      return guard;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /**
   * Drops everything from these sources, from now on, in the place of what was said of the same prefix before.
   *
   * @param prefix an address or a prefix; bits behind its length do not matter
   * @returns the prefix as rules() has it
   * @throws TypeError for what is no prefix; EbpfMapError `ERR_EBPF_FULL` with 1,024 rules
   */
  block(prefix: string): string {
    return this.#set(prefix, undefined);
  }

  /**
   * Drops what of these sources, all together, is above a rate.
   *
   * @throws TypeError, RangeError for what is no prefix or rate; EbpfMapError `ERR_EBPF_FULL` with 1,024 rules
   */
  limit(prefix: string, { packetsPerSecond, burst = 1 }: RateLimit): string {
    if (!(packetsPerSecond >= SLOWEST && packetsPerSecond <= FASTEST)) {
      throw new RangeError(
        `Expected a number from ${SLOWEST} to ${FASTEST} for packetsPerSecond but received ${String(packetsPerSecond)}`,
      );
    }
    if (!Number.isInteger(burst) || burst < 1 || burst > 2 ** 32) {
      throw new RangeError(`Expected an integer from 1 to 2^32 for burst but received ${String(burst)}`);
    }
    return this.#set(prefix, { packetsPerSecond, burst });
  }

  /** Takes a rule back. False where there is none of this prefix. */
  lift(prefix: string): boolean {
    const { words } = parsePrefix(prefix);
    const known = this.#known.get(words);
    if (!known) return false;
    this.#object.map('guard_prefixes').delete(known.key);
    this.#known.delete(words);
    this.#free.push(known.row);
    return true;
  }

  /** Every rule, and what it did since it was made or changed; of one look at the map. */
  rules(): GuardRule[] {
    this.#counts.read();
    return [...this.#known].map(([prefix, { row, limit, from }]) => {
      const now = this.#row(row);
      const [passed = 0, passedBytes = 0, dropped = 0, droppedBytes = 0] = now.map(
        (n, i) => n - (from[i] ?? 0),
      );
      return {
        prefix,
        ...(limit ? { limit } : {}),
        passed: { packets: passed, bytes: passedBytes },
        dropped: { packets: dropped, bytes: droppedBytes },
      };
    });
  }

  /** All that came since attach: what passed, and what was dropped. */
  totals(): {
    /** What no rule is for included. */
    passed: Tally;
    /** By any rule, one that was lifted since included. */
    dropped: Tally;
  } {
    this.#totals.read();
    const [passed = 0, passedBytes = 0, dropped = 0, droppedBytes = 0] = this.#totals.values;
    return {
      passed: { packets: passed, bytes: passedBytes },
      dropped: { packets: dropped, bytes: droppedBytes },
    };
  }

  /** Detaches and unloads: everything passes. Idempotent. */
  close(): void {
    this.#object.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #row(row: number): Float64Array {
    return this.#counts.values.slice(row * FIELDS.length, (row + 1) * FIELDS.length);
  }

  #set(prefix: string, limit: Required<RateLimit> | undefined): string {
    const { words, bits, address } = parsePrefix(prefix);
    const old = this.#known.get(words);
    const row = old?.row ?? this.#free[0];
    if (row === undefined) {
      throw new EbpfMapError(`guard ${words}: there are ${MOST_RULES} rules already`, {
        code: 'ERR_EBPF_FULL',
        map: 'guard_prefixes',
        hint: 'lift() some, or take shorter prefixes',
      });
    }
    this.#object.map('guard_rules').set(row, ruleBytes(limit), BPF_F_LOCK);
    this.#counts.read();
    const from = this.#row(row);
    const key = old?.key ?? prefixKey(bits, address);
    if (!old) {
      this.#object.map('guard_prefixes').set(key, new Uint8Array(Uint32Array.of(row).buffer));
      this.#free.shift();
    }
    this.#known.set(words, { row, key, from, ...(limit ? { limit } : {}) });
    return words;
  }
}

// struct guard_prefix.
function prefixKey(bits: number, address: Uint8Array): Uint8Array {
  const key = new Uint8Array(20);
  new DataView(key.buffer).setUint32(0, bits, LITTLE_ENDIAN);
  key.set(address, 4);
  return key;
}

// struct guard_rule: the lock, padding, full_at, interval_ns, depth_ns.
function ruleBytes(limit: Required<RateLimit> | undefined): Uint8Array {
  const rule = new BigUint64Array(4);
  if (limit) {
    const interval = Math.max(1, Math.round(NS / limit.packetsPerSecond));
    rule[2] = BigInt(interval);
    rule[3] = BigInt(interval) * BigInt(limit.burst - 1);
  }
  return new Uint8Array(rule.buffer);
}
