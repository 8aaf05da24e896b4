import { endianness } from 'node:os';
import type { NetTarget } from '../interface.ts';
import type { XdpLink } from '../link.ts';
import { type BpfMap, possibleCpus } from '../map.ts';
import { type BpfObject, loadObject } from '../object.ts';
import { type NegotiatedXdpOptions, negotiateXdp, type TriedMode } from '../xdp.ts';

const OBJECT = new URL('../../dist/bpf/xdp_counter.bpf.o', import.meta.url);
const PROTOCOLS = ['tcp', 'udp', 'icmp', 'other'] as const; // the rows of packet_counters, in order
const LITTLE_ENDIAN = endianness() === 'LE';

/** `icmp` is ICMP and ICMPv6; `other` is everything that is not IP, and frames too short to tell. */
export type Protocol = (typeof PROTOCOLS)[number];

/** Frames, and their bytes from the Ethernet header on. */
export interface Tally {
  packets: number;
  bytes: number;
}

/**
 * Counts every frame that an interface receives, by protocol. It passes all of them.
 *
 * @example
 * using counter = await XdpCounter.attach({ iface: 'eth0' });
 * const { tcp, udp } = counter.read();
 * console.log(tcp.packets, udp.bytes);
 */
export class XdpCounter implements Disposable {
  readonly link: XdpLink;
  /** The modes that the interface could not do, before the one it has. */
  readonly tried: readonly TriedMode[];
  readonly #object: BpfObject;
  readonly #counters: BpfMap;
  readonly #slot: Uint8Array;
  readonly #view: DataView;
  readonly #cpus = possibleCpus();

  private constructor(object: BpfObject, link: XdpLink, tried: readonly TriedMode[]) {
    this.link = link;
    this.tried = tried;
    this.#object = object;
    this.#counters = object.map('packet_counters');
    this.#slot = new Uint8Array(this.#counters.slotSize);
    this.#view = new DataView(this.#slot.buffer);
  }

  /**
   * Loads the program and attaches it: in the driver where that can, in the stack otherwise, unless `mode` says more.
   *
   * @throws EbpfAttachError, EbpfLoadError, EbpfPermissionError; nothing is left behind then
   */
  static async attach(options: NetTarget & NegotiatedXdpOptions): Promise<XdpCounter> {
    const object = await loadObject(OBJECT);
    try {
      const { link, tried } = negotiateXdp(object.program('xdp_counter'), options, 'drv');
      return new XdpCounter(object, link, tried);
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** Totals since attach, summed over the CPUs. Exact up to 2^53. */
  read(): Record<Protocol, Tally> {
    return {
      tcp: this.#tally('tcp'),
      udp: this.#tally('udp'),
      icmp: this.#tally('icmp'),
      other: this.#tally('other'),
    };
  }

  /** Detaches and unloads. Idempotent. */
  close(): void {
    this.#object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #tally(protocol: Protocol): Tally {
    this.#counters.getInto(PROTOCOLS.indexOf(protocol), this.#slot);
    const tally = { packets: 0, bytes: 0 };
    const stride = this.#slot.byteLength / this.#cpus;
    for (let at = 0; at < this.#slot.byteLength; at += stride) {
      tally.packets += this.#counter(at);
      tally.bytes += this.#counter(at + 8);
    }
    return tally;
  }

  #counter(at: number): number {
    const low = this.#view.getUint32(at + (LITTLE_ENDIAN ? 0 : 4), LITTLE_ENDIAN);
    const high = this.#view.getUint32(at + (LITTLE_ENDIAN ? 4 : 0), LITTLE_ENDIAN);
    return high * 2 ** 32 + low;
  }
}
