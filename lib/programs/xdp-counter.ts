import type { XdpLink } from '../attach/xdp.ts';
import type { TriedMode } from '../core/xdp-mode.ts';
import { findInterface, type NetTarget } from '../kernel/interfaces.ts';
import type { MapReader } from '../map/reader.ts';
import { type BpfObject, loadObject } from '../object/object.ts';
import { type NegotiatedXdpOptions, negotiateXdp } from '../program/xdp-negotiation.ts';
import { keepBundled } from './bundled.ts';

const OBJECT = new URL('./bpf/xdp_counter.bpf.o', import.meta.url);
const FIELDS = ['packets', 'bytes'];

/** `icmp` is ICMP and ICMPv6; `other` is everything that is not IP, and frames too short to tell. */
export type Protocol = 'tcp' | 'udp' | 'icmp' | 'other';

const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'icmp', 'other']; // the rows of packet_counters, in order

/** Frames, and their bytes from the Ethernet header on. */
export interface Tally {
  /** A running total, exact up to 2^53. What counts as one, the class says that gives it. */
  packets: number;
  /** Of those packets, from where the class says. */
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
  /** Its state() and `mode` say how the program is attached. The counter's close() closes it. */
  readonly link: XdpLink;
  /** The modes that the interface could not do, before the one it has. */
  readonly tried: readonly TriedMode[];
  /**
   * Its counters, for who polls them: four rows (tcp, udp, icmp, other) of two numbers (packets, bytes), summed over the
   * CPUs. close() closes it.
   *
   * @example
   * counter.reader.read();
   * const udpPackets = counter.reader.values[1 * counter.reader.fields];
   */
  readonly reader: MapReader;
  readonly #object: BpfObject;

  private constructor(object: BpfObject, link: XdpLink, tried: readonly TriedMode[]) {
    this.link = link;
    this.tried = tried;
    this.#object = object;
    this.reader = object.map('packet_counters').reader({ fields: FIELDS });
  }

  /**
   * Loads the program and attaches it: in the driver where that can, in the stack otherwise, unless `mode` says more.
   *
   * @throws EbpfAttachError, EbpfLoadError, EbpfPermissionError; nothing is left behind then
   */
  static async attach(options: NetTarget & NegotiatedXdpOptions): Promise<XdpCounter> {
    const object = await loadObject(OBJECT);
    try {
      const program = object.program('xdp_counter');
      const { name: iface } = findInterface(options);
      const { link, tried } = negotiateXdp(program, options, 'drv');
      const counter = new XdpCounter(object, link, tried);
      keepBundled(counter, {
        name: 'xdp_counter',
        object,
        attachments: [{ type: program.type, link }],
        iface,
      });
      return counter;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** Totals since attach, summed over the CPUs, of one look at the map. Exact up to 2^53. */
  read(): Record<Protocol, Tally> {
    this.reader.read();
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

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #tally(protocol: Protocol): Tally {
    const at = PROTOCOLS.indexOf(protocol) * FIELDS.length;
    return { packets: this.reader.values[at] ?? 0, bytes: this.reader.values[at + 1] ?? 0 };
  }
}
