import { findInterface, type NetTarget } from '../interface.ts';
import type { MapReader } from '../map-reader.ts';
import { type BpfObject, loadObject } from '../object.ts';
import type { TcDirection, TcLink, TcOptions } from '../tc.ts';
import { keepBundled } from './bundled.ts';
import { type ClassRule, markBytes, ruleTable } from './class-rules.ts';
import { type Flow, flowOf } from './flow.ts';
import type { Tally } from './xdp-counter.ts';

const OBJECT = new URL('../../dist/bpf/tc_classifier.bpf.o', import.meta.url);
// Egress first: where an ingress qdisc is in clsact's place it is what fails.
const PROGRAMS = { egress: 'tc_egress', ingress: 'tc_ingress' } as const;
const DIRECTIONS = Object.keys(PROGRAMS) as TcDirection[];
const TALLY = ['packets', 'bytes'];
const FLOW = ['packets', 'bytes', 'first_ns', 'last_ns'];
const DEFAULT_FLOWS = 65_536;
const ROOM_FOR_FLOWS = 4096; // to begin with
// linux/if_arp.h: link layers with an Ethernet header.
const ETHERNET: ReadonlySet<number> = new Set([1, 772]);

/** What is counted, into which classes, and how it attaches. */
export interface TcClassifierOptions {
  /** Which packets are counted: those that arrive, those that leave, or both (default). */
  direction?: TcDirection | 'both';
  /** As in TcOptions. */
  via?: TcOptions['via'];
  /** Of which class packets are, by port. A rule for the port that a packet goes to comes before one for the other. */
  rules?: readonly ClassRule[];
  /** Flows that are kept, 1 to 4294967295; beyond them those go that were quiet longest. Default 65536, of 9 MB. */
  maxFlows?: number;
  /** Classes whose packets get this skb->priority (a qdisc's class, a queue), 0 to 4294967295. `other` may be among them. */
  mark?: Readonly<Record<string, number>>;
  /** As in TcOptions. */
  bringUp?: boolean;
  /** As in TcOptions. */
  removeQdisc?: boolean;
}

/** How the flows fared that the map has no room for. */
export interface FlowAccount {
  /** Flows that were entered. Less those that flows() still has, as many were evicted: the map keeps the recent ones. */
  created: number;
  /** Packets whose flow the map did not take. They are in their classes. */
  missed: Tally;
}

/**
 * Counts the packets of an interface by class and by flow, on their way in and out, and leaves them to whoever comes next.
 *
 * Packets are those of the wire: what the kernel carries as one (GSO, GRO) counts as its segments. Bytes are those from
 * the Ethernet header on, VLAN tags included; for an interface without that header, from IP's. Kernel 5.10.
 *
 * @example
 * using classifier = await TcClassifier.attach({
 *   iface: 'eth0',
 *   rules: [{ protocol: 'tcp', port: 443, class: 'web' }],
 * });
 * console.log(classifier.classes().web.egress.bytes);
 * for (const { source, destination, bytes } of classifier.flows(5)) console.log(source, destination, bytes);
 */
export class TcClassifier implements Disposable {
  /** One for each direction. */
  readonly links: readonly TcLink[];
  /** The names of the classes, by number: `other`, then those of the rules in their order. */
  readonly classNames: readonly string[];
  /**
   * The classes, for who polls them: row 2 × class for ingress, the next for egress, of two numbers (packets, bytes), summed
   * over the CPUs. close() closes it, and the other reader.
   */
  readonly classReader: MapReader;
  /** The flows: rows of packets, bytes, first_ns, last_ns; the keys are struct flow_key of bpf/tc_classifier.h. */
  readonly flowReader: MapReader;
  readonly #accountReader: MapReader;
  readonly #object: BpfObject;

  private constructor(object: BpfObject, links: readonly TcLink[], classNames: readonly string[]) {
    this.#object = object;
    this.links = links;
    this.classNames = classNames;
    this.classReader = object.map('classes').reader({ fields: TALLY });
    const flows = object.map('flows');
    const capacity = Math.min(flows.maxEntries, ROOM_FOR_FLOWS);
    this.flowReader = flows.reader({ fields: FLOW, capacity });
    this.#accountReader = object.map('flow_accounts').reader();
  }

  /**
   * Loads the programs, enters the rules and attaches: in every direction that is asked for, or not at all.
   *
   * @throws TypeError, RangeError for rules and options that cannot be; nothing was asked of the kernel
   * @throws EbpfAttachError, EbpfLoadError, EbpfPermissionError, EbpfNotSupportedError; nothing is left behind then
   */
  static async attach(options: NetTarget & TcClassifierOptions): Promise<TcClassifier> {
    const { iface, netns, direction = 'both', via, bringUp, removeQdisc } = options;
    const directions = chosen(direction);
    const { classes, count, keys, values } = ruleTable(options.rules ?? []);
    const marks = markBytes(classes, options.mark ?? {});
    const maxFlows = checkedMaxFlows(options.maxFlows);
    const target = { iface, ...(netns === undefined ? {} : { netns }) };
    const { hardware, name: ifaceName } = findInterface(target);
    const object = await loadObject(OBJECT, {
      globals: {
        ethernet: ETHERNET.has(hardware) ? 1 : 0,
        rules: count,
        marking: marks.some((byte) => byte !== 0) ? 1 : 0,
        marks,
      },
      maps: {
        flows: { maxEntries: maxFlows },
        classes: { maxEntries: 2 * classes.length },
        class_rules: { maxEntries: Math.max(count, 1) },
      },
      programs: Object.fromEntries(
        DIRECTIONS.map((name) => [PROGRAMS[name], { load: directions.includes(name) }]),
      ),
    });
    try {
      if (count > 0) object.map('class_rules').setBatch(keys, values, count);
      const attachments = directions.map((name) => {
        const program = object.program(PROGRAMS[name]);
        const link = program.attachTc({
          ...target,
          direction: name,
          ...(via === undefined ? {} : { via }),
          ...(bringUp === undefined ? {} : { bringUp }),
          ...(removeQdisc === undefined ? {} : { removeQdisc }),
        });
        return { type: program.type, link };
      });
      const classifier = new TcClassifier(
        object,
        attachments.map(({ link }) => link),
        classes,
      );
      keepBundled(classifier, { name: 'tc_classifier', object, attachments, iface: ifaceName });
      return classifier;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /** Totals since attach, by class, of one look at the map. Exact up to 2^53. A direction that is not attached is 0. */
  classes(): Record<
    string,
    {
      /** What the interface received. */
      ingress: Tally;
      /** What it sent. */
      egress: Tally;
    }
  > {
    const { classReader: reader } = this;
    reader.read();
    const tally = (row: number): Tally => ({
      packets: reader.values[row * reader.fields] ?? 0,
      bytes: reader.values[row * reader.fields + 1] ?? 0,
    });
    return Object.fromEntries(
      this.classNames.map((name, row) => [name, { ingress: tally(2 * row), egress: tally(2 * row + 1) }]),
    );
  }

  /**
   * The flows of the most bytes, the largest first.
   *
   * @param top how many, at most; Infinity for all
   */
  flows(top = 10): Flow[] {
    if (top !== Number.POSITIVE_INFINITY && !(Number.isInteger(top) && top >= 0)) {
      throw new RangeError(`Expected a whole number or Infinity for top but received ${String(top)}`);
    }
    const { flowReader: reader } = this;
    const rows = reader.read();
    const { keys, values, fields } = reader;
    const size = keys.length / reader.capacity;
    return Array.from({ length: rows }, (_, row) => row)
      .sort((a, b) => (values[b * fields + 1] ?? 0) - (values[a * fields + 1] ?? 0))
      .slice(0, top)
      .map((row) =>
        flowOf(
          keys.subarray(row * size, (row + 1) * size),
          values.subarray(row * fields, (row + 1) * fields),
        ),
      );
  }

  /** Whether flows were lost, and how many packets with them. */
  flowAccount(): FlowAccount {
    this.#accountReader.read();
    const [created = 0, packets = 0, bytes = 0] = this.#accountReader.values;
    return { created, missed: { packets, bytes } };
  }

  /** Detaches and unloads. Idempotent. */
  close(): void {
    this.#object.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function chosen(direction: TcDirection | 'both'): readonly TcDirection[] {
  if (direction === 'both') return DIRECTIONS;
  if (direction === 'ingress' || direction === 'egress') return [direction];
  throw new TypeError(`Expected ingress, egress or both for direction but received ${String(direction)}`);
}

function checkedMaxFlows(maxFlows = DEFAULT_FLOWS): number {
  if (Number.isInteger(maxFlows) && maxFlows >= 1 && maxFlows <= 0xffff_ffff) return maxFlows;
  throw new RangeError(
    `Expected an integer from 1 to 4294967295 for maxFlows but received ${String(maxFlows)}`,
  );
}
