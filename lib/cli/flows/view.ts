import { bytes, clock, count, duration, plural, rate } from '../../format/units.ts';
import { type FlowSample, meanSample, sumClasses } from '../../meters/flow-meter.ts';
import type { Flow } from '../../programs/flow.ts';
import { print, printJson } from '../terminal/output.ts';
import { type Column, tableLines } from '../terminal/table.ts';
import type { View } from '../terminal/view.ts';

/** The interface that `flows` watches, and how. */
export interface FlowSubject {
  iface: string;
  direction: 'ingress' | 'egress' | 'both';
  /** The kind of attachment that the kernel reports. */
  via: 'tcx' | 'clsact';
  /** The number of flows to show. */
  top: number;
}

/** For programs: one JSON object per line. */
export class JsonView implements View<FlowSample> {
  readonly #subject: FlowSubject;

  constructor(subject: FlowSubject) {
    this.#subject = subject;
  }

  open(): void {}

  show({ time, classes, rates, flows, evicted }: FlowSample): void {
    const { iface, direction, via, top } = this.#subject;
    printJson({
      time: time.toISOString(),
      interface: iface,
      direction,
      via,
      classes,
      rates,
      flowCount: flows.length,
      flows: flows.slice(0, top),
      evicted,
    });
  }

  close(): void {}
}

/** For pipes and logs: one line per interval under one head, and the flows at the end. */
export class LineView implements View<FlowSample> {
  readonly #subject: FlowSubject;

  constructor(subject: FlowSubject) {
    this.#subject = subject;
  }

  open(): void {
    const { iface, via } = this.#subject;
    print(`${iface}, ${via}: packets/s and bytes/s, and the fastest flow`);
    print(`time    ${this.#ways().map(cell).join('')}${'flows'.padStart(10)}  fastest`);
  }

  show({ time, rates, flows }: FlowSample): void {
    const ways = this.#ways().map((way) => {
      const { packets, bytes: size } = sumClasses(rates, way);
      return cell(`${rate(packets)} ${bytes(size).padStart(8)}`);
    });
    const [fastest] = flows.filter((flow) => flow.rates.packets > 0);
    const words = fastest ? `${flowWords(fastest)} ${bytes(fastest.rates.bytes)}/s` : '-';
    print(`${clock(time)}${ways.join('')}${count(flows.length).padStart(10)}  ${words}`);
  }

  close(sample: FlowSample): void {
    const { classes, elapsed } = sample;
    print(...classLines(classes, this.#ways(), 'totals'));
    print(...flowLines(meanSample(sample).flows.slice(0, this.#subject.top)));
    print(`${flowsWords(sample)}; detached after ${duration(elapsed)}`);
  }

  #ways(): readonly ('ingress' | 'egress')[] {
    return waysOf(this.#subject);
  }
}

export function waysOf({ direction }: FlowSubject): readonly ('ingress' | 'egress')[] {
  return direction === 'both' ? ['ingress', 'egress'] : [direction];
}

const CELL = 22;

function cell(text: string): string {
  return ` ${text.padStart(CELL - 1)}`;
}

/** A flow as `tcp 192.0.2.1:40000 > 192.0.2.2:443 out`. */
export function flowWords(flow: Flow): string {
  const { protocol } = flow;
  return `${protocol} ${sourceWords(flow)} > ${destinationWords(flow)} ${way(flow)}`;
}

function way({ direction }: Flow): string {
  return direction === 'ingress' ? 'in' : 'out';
}

function sourceWords({ source, sourcePort }: Flow): string {
  return endpoint(source, sourcePort);
}

function destinationWords({ destination, destinationPort }: Flow): string {
  return endpoint(destination, destinationPort);
}

function endpoint(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

const right = (head: string): Column => ({ head, align: 'right' });

/** Makes a table of the classes, with its head. */
export function classLines(
  classes: FlowSample['classes'],
  ways: readonly ('ingress' | 'egress')[],
  what: 'rates' | 'totals',
): string[] {
  const [amount, per] = what === 'rates' ? [rate, '/s'] : [count, ''];
  return tableLines(
    [{ head: 'class' }, ...ways.flatMap((one) => [right(`${one} packets${per}`), right(`bytes${per}`)])],
    Object.entries(classes).map(([name, both]) => [
      name,
      ...ways.flatMap((one) => [amount(both[one].packets), bytes(both[one].bytes)]),
    ]),
  );
}

/** Makes a table of flows, with its head; no lines if there are no flows. */
export function flowLines(flows: FlowSample['flows']): string[] {
  if (flows.length === 0) return [];
  return tableLines(
    [
      { head: '' },
      { head: 'protocol' },
      { head: 'from' },
      { head: 'to' },
      right('packets/s'),
      right('bytes/s'),
      right('packets'),
      right('bytes'),
    ],
    flows.map((flow) => [
      way(flow),
      flow.protocol,
      sourceWords(flow),
      destinationWords(flow),
      rate(flow.rates.packets),
      bytes(flow.rates.bytes),
      count(flow.packets),
      bytes(flow.bytes),
    ]),
  );
}

/** `12 flows`, and the number of evicted ones if there are any. */
export function flowsWords({ flows, evicted }: FlowSample): string {
  return [plural(flows.length, 'flow'), ...(evicted > 0 ? [`${count(evicted)} evicted`] : [])].join(', ');
}
