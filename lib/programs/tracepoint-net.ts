import { EbpfAttachError } from '../core/errors.ts';
import { kernelEnum } from '../kernel/enums.ts';
import { findInterface, type Iface, listInterfaces, type NativeInterface } from '../kernel/interfaces.ts';
import { netnsIdentity } from '../kernel/netns.ts';
import type { MapReader } from '../map/reader.ts';
import { type BpfObject, loadObject } from '../object/object.ts';
import { keepBundled } from './bundled.ts';
import type { Tally } from './xdp-counter.ts';

const OBJECT = new URL('./bpf/tracepoint_net.bpf.o', import.meta.url);
const FIELDS = ['packets', 'bytes'];

// What bpf/tracepoint_net.h says.
const KEY = { words: 3, ifindex: 0, direction: 2 } as const;
const RX = 0;
const DIRECTIONS = 2;
const MOST_INTERFACES = 1 << 16;
const COUNTERS = { retransmits: 0, lostPackets: 1, lostDrops: 2, strayDrops: 3 } as const;
const STATE_SLOTS = 16;

// include/net/tcp_states.h, from 1 on.
const TCP_STATES = [
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
  'BOUND_INACTIVE',
];
const REASON_PREFIX = /^SKB_(DROP_REASON_)?/;

/** What is counted, and how much room there is. */
export interface TracepointNetOptions {
  /** Only this interface, in interfaces() and in drops(). Default: all of the namespace. */
  iface?: Iface;
  /** The path (`/run/netns/blue`) or an open descriptor of another network namespace. Default: the process's own. */
  netns?: string | number;
  /** Room for so many interfaces, those that went away included; what others send and receive is `lost`. Default 1024. */
  maxInterfaces?: number;
}

/** What came in (`rx`) and what went out (`tx`): packets, and their bytes from the link-layer header on, on lo behind it. */
export interface InterfaceTally {
  /** As the driver gave them to the stack. */
  rx: Tally;
  /** As the driver took them. */
  tx: Tally;
}

/** What the TCP sockets of a namespace did. */
export interface TcpActivity {
  /** Segments that sockets sent once more, SYNs included; SYN-ACKs are not. */
  retransmits: number;
  /** How many sockets went from one state to another: `{ 'SYN_SENT→ESTABLISHED': 2 }`. Only what happened is in it. */
  transitions: Record<string, number>;
}

/**
 * Counts what a network namespace sends and receives on each interface, what it drops and why, and what becomes of its
 * TCP sockets. Nothing that passes is changed. Interfaces agree with /proc/net/dev where their driver counts what the
 * stack hands it; docs/programs.md says which do.
 *
 * Kernel 5.10 and newer; CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN for another namespace.
 *
 * @example
 * using net = await TracepointNet.attach();
 * const { eth0 } = net.interfaces();
 * console.log(eth0?.rx.packets, net.drops(), net.tcp().retransmits);
 */
export class TracepointNet implements Disposable {
  readonly #object: BpfObject;
  readonly #netns: string | number | undefined;
  readonly #identity: string;
  readonly #ifindex: number | undefined;
  readonly #reasons: ReadonlyMap<number, string>;
  readonly #interfaces: MapReader;
  readonly #drops: MapReader;
  readonly #states: MapReader;
  readonly #counters: MapReader;
  // The names that interfaces had when they were last seen.
  readonly #names = new Map<number, string>();

  private constructor(
    object: BpfObject,
    at: { netns: string | number | undefined; identity: string; ifindex: number | undefined },
    reasons: ReadonlyMap<number, string>,
  ) {
    this.#object = object;
    this.#netns = at.netns;
    this.#identity = at.identity;
    this.#ifindex = at.ifindex;
    this.#reasons = reasons;
    this.#interfaces = object.map('net_dev_stats').reader({ fields: FIELDS });
    this.#drops = object.map('drops').reader();
    this.#states = object.map('tcp_states').reader();
    this.#counters = object.map('net_counters').reader();
  }

  /**
   * Loads the programs and attaches them to their tracepoints: all of them, or none.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`, or where `netns` is no network namespace
   * @throws EbpfLoadError, EbpfPermissionError; nothing is left behind then
   */
  static async attach(options: TracepointNetOptions = {}): Promise<TracepointNet> {
    const { iface, netns, maxInterfaces = 1024 } = options;
    if (!Number.isInteger(maxInterfaces) || maxInterfaces < 1 || maxInterfaces > MOST_INTERFACES) {
      throw new RangeError(
        `Expected an integer from 1 to ${MOST_INTERFACES} for maxInterfaces but received ${String(maxInterfaces)}`,
      );
    }
    const listed = listInterfaces(netns);
    const identity = netnsIdentity(netns);
    const ifindex =
      iface === undefined
        ? undefined
        : findInterface({ iface, ...(netns === undefined ? {} : { netns }) }).ifindex;
    const object = await loadObject(OBJECT, {
      globals: { only_netns: inode(identity), only_ifindex: ifindex ?? 0 },
      maps: { net_dev_stats: { maxEntries: DIRECTIONS * maxInterfaces } },
    });
    try {
      const reasons = await dropReasons();
      const net = new TracepointNet(object, { netns, identity, ifindex }, reasons);
      net.#see(listed);
      const [type = ''] = Object.values(object.programs).map((program) => program.type); // all are of one
      const attachments = object.attachAll().map((link) => ({ type, link }));
      keepBundled(net, { name: 'tracepoint_net', object, attachments });
      return net;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /**
   * What each interface of the namespace sent and received since attach, by its name; those without traffic are zeros.
   * One that is gone keeps its count under the name that it was last seen with by attach() or interfaces(), and under
   * `ifindex N` where it was not seen or another interface has taken its name since. Exact up to 2^53.
   *
   * @throws EbpfStateError after close()
   * @example
   * for (const [name, { rx, tx }] of Object.entries(net.interfaces())) console.log(name, rx.packets, tx.packets);
   */
  interfaces(): Record<string, InterfaceTally> {
    const rows = this.#interfaces.read();
    const listed = this.#listed();
    this.#see(listed);
    const tallies = new Map(this.#wanted(listed).map(({ ifindex }) => [ifindex, noTraffic()]));
    const { keys, values, fields } = this.#interfaces;
    const words = new Uint32Array(keys.buffer, keys.byteOffset, rows * KEY.words);
    for (let row = 0; row < rows; row++) {
      const ifindex = words[row * KEY.words + KEY.ifindex] ?? 0;
      const tally = tallies.get(ifindex) ?? noTraffic();
      tallies.set(ifindex, tally);
      tally[words[row * KEY.words + KEY.direction] === RX ? 'rx' : 'tx'] = {
        packets: values[row * fields] ?? 0,
        bytes: values[row * fields + 1] ?? 0,
      };
    }
    return Object.fromEntries(
      [...tallies]
        .sort(([a], [b]) => a - b)
        .map(([ifindex, tally]) => [this.#names.get(ifindex) ?? `ifindex ${ifindex}`, tally]),
    );
  }

  /**
   * How many packets of the namespace (with `iface`, of the interface) the kernel has dropped since attach, by its name
   * for the reason: `{ NO_SOCKET: 3 }`. A reason that the kernel's BTF does not name is its number; before kernel 5.17,
   * which gives none, all are `unknown`.
   *
   * @throws EbpfStateError after close()
   */
  drops(): Record<string, number> {
    const rows = this.#drops.read();
    const { keys, values } = this.#drops;
    const reasons = new Uint32Array(keys.buffer, keys.byteOffset, rows);
    return Object.fromEntries(
      Array.from(reasons, (reason, row): [string, number] => [this.#reason(reason), values[row] ?? 0]).sort(
        ([, a], [, b]) => b - a,
      ),
    );
  }

  /**
   * What TCP sockets of the namespace have done since attach, on whichever interface.
   *
   * @throws EbpfStateError after close()
   */
  tcp(): TcpActivity {
    this.#counters.read();
    return this.#tcp();
  }

  #tcp(): TcpActivity {
    this.#states.read();
    const transitions: [string, number][] = [];
    for (const [row, count] of this.#states.values.entries()) {
      if (count === 0) continue;
      const [from, to] = [Math.floor(row / STATE_SLOTS), row % STATE_SLOTS];
      transitions.push([`${stateName(from)}→${stateName(to)}`, count]);
    }
    return { retransmits: this.#counter('retransmits'), transitions: Object.fromEntries(transitions) };
  }

  /**
   * What happened and is in no count: packets of more interfaces than there was room for, drops of more than 512 reasons,
   * and what came while the same program was at work on the same CPU already.
   *
   * @throws EbpfStateError after close()
   */
  get lost(): number {
    this.#counters.read();
    return this.#lost();
  }

  #lost(): number {
    const missed = Object.values(this.#object.programs)
      .map((program) => program.stats().recursionMisses)
      .reduce((sum, misses) => sum + misses, 0);
    return this.#counter('lostPackets') + this.#counter('lostDrops') + missed;
  }

  /**
   * Drops, of the whole machine, of packets that bore no interface, socket or route any more: they are nobody's, and in
   * no drops().
   *
   * @throws EbpfStateError after close()
   */
  get strayDrops(): number {
    this.#counters.read();
    return this.#counter('strayDrops');
  }

  /** tcp() and `lost`, of one look at the counters. @internal */
  activity(): { tcp: TcpActivity; lost: number } {
    this.#counters.read();
    return { tcp: this.#tcp(), lost: this.#lost() };
  }

  /** Detaches and unloads. Idempotent. */
  close(): void {
    this.#object.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  // As they were read last.
  #counter(name: keyof typeof COUNTERS): number {
    return this.#counters.values[COUNTERS[name]] ?? 0;
  }

  // Before kernel 5.17 the program has no reason and says 0; later kernels name 0 or never give it.
  #reason(number: number): string {
    return this.#reasons.get(number) ?? (number === 0 ? 'unknown' : String(number));
  }

  // The namespace is not held: when it is gone its interfaces are, and its path may name another.
  #listed(): NativeInterface[] {
    try {
      if (netnsIdentity(this.#netns) !== this.#identity) return [];
    } catch (error) {
      if (error instanceof EbpfAttachError) return [];
      throw error;
    }
    return listInterfaces(this.#netns);
  }

  #wanted(listed: readonly NativeInterface[]): NativeInterface[] {
    return listed.filter(({ ifindex }) => this.#ifindex === undefined || ifindex === this.#ifindex);
  }

  // A name belongs to who has it now: one that is gone does not get it back.
  #see(listed: readonly NativeInterface[]): void {
    const present = new Map(listed.map(({ ifindex, name }) => [name, ifindex]));
    for (const [ifindex, name] of this.#names) {
      if ((present.get(name) ?? ifindex) !== ifindex) this.#names.delete(ifindex);
    }
    for (const { ifindex, name } of this.#wanted(listed)) this.#names.set(ifindex, name);
  }
}

function noTraffic(): InterfaceTally {
  return { rx: { packets: 0, bytes: 0 }, tx: { packets: 0, bytes: 0 } };
}

function stateName(state: number): string {
  return TCP_STATES[state - 1] ?? String(state);
}

function inode(identity: string): number {
  return Number(identity.split(':')[1]);
}

// A kernel without BTF of its own (LoadOptions.btf) has no names: numbers, then.
async function dropReasons(): Promise<ReadonlyMap<number, string>> {
  const names = await kernelEnum('skb_drop_reason');
  return new Map([...names].map(([value, name]) => [value, name.replace(REASON_PREFIX, '')]));
}
