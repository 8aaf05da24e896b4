import type { TcDirection, TcLink, TcOptions } from '../attach/tc.ts';
import { findInterface, type NetTarget } from '../kernel/interfaces.ts';
import type { MapReader } from '../map/reader.ts';
import { type BpfObject, loadObject } from '../object/object.ts';
import { keepBundled } from './bundled.ts';
import { type ClassRule, markBytes, ruleTable } from './class-rules.ts';
import type { Flow } from './flow.ts';
import { FlowTable, flowsIn, randomSeeds, setsFor } from './flow-table.ts';
import type { Tally } from './xdp-counter.ts';

const OBJECT = new URL('./bpf/tc_classifier.bpf.o', import.meta.url);
// Egress first: where an ingress qdisc is in clsact's place it is what fails.
const PROGRAMS = { egress: 'tc_egress', ingress: 'tc_ingress' } as const;
const DIRECTIONS = Object.keys(PROGRAMS) as TcDirection[];
const TALLY = ['packets', 'bytes'];
const ACCOUNT = ['created', 'evicted'];
const DEFAULT_FLOWS = 131_072;
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
  /**
   * Flows that there is room for, 1 to 4294967295, in sets of 16: a new one takes the place of the one of its set that was
   * quiet longest. Where half of the room is in use, that happens to one in 1,250. Default 131072, of 9.5 MB.
   */
  maxFlows?: number;
  /** Classes whose packets get this skb->priority (a qdisc's class, a queue), 0 to 4294967295. `other` may be among them. */
  mark?: Readonly<Record<string, number>>;
  /** As in TcOptions. */
  bringUp?: boolean;
  /** As in TcOptions. */
  removeQdisc?: boolean;
}

/** How many flows there were, since attach. */
export interface FlowAccount {
  /** Flows that were entered. */
  created: number;
  /** Flows among them that made room for others: flows() no longer has them. Their packets are in their classes. */
  evicted: number;
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
   * over the CPUs. close() closes it.
   */
  readonly classReader: MapReader;
  /** How many flows there is room for. */
  readonly maxFlows: number;
  readonly #flows: FlowTable;
  readonly #accountReader: MapReader;
  readonly #object: BpfObject;

  private constructor(object: BpfObject, links: readonly TcLink[], classNames: readonly string[]) {
    this.#object = object;
    this.links = links;
    this.classNames = classNames;
    this.classReader = object.map('classes').reader({ fields: TALLY });
    this.maxFlows = flowsIn(object.map('flows').maxEntries);
    this.#flows = new FlowTable(object.map('flows'), object.map('flow_fills'));
    this.#accountReader = object.map('flow_accounts').reader({ fields: ACCOUNT });
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
    const flowSets = setsFor(checkedMaxFlows(options.maxFlows));
    const target = { iface, ...(netns === undefined ? {} : { netns }) };
    const { hardware, name: ifaceName } = findInterface(target);
    const object = await loadObject(OBJECT, {
      globals: {
        ethernet: ETHERNET.has(hardware) ? 1 : 0,
        rules: count,
        marking: marks.some((byte) => byte !== 0) ? 1 : 0,
        marks,
        flow_sets: flowSets,
        flow_seeds: randomSeeds(),
      },
      maps: {
        flows: { maxEntries: flowSets },
        flow_fills: { maxEntries: flowSets },
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
    return this.#flows.largest(top);
  }

  /** How many flows there were, and whether flows() has all of them. */
  flowAccount(): FlowAccount {
    this.#accountReader.read();
    const [created = 0, evicted = 0] = this.#accountReader.values;
    return { created, evicted };
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
