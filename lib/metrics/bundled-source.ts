import type { BpfLink } from '../link/link.ts';
import { type ComponentHealth, component } from '../loader/health.ts';
import { type Bundled, bundledOf } from '../programs/bundled.ts';
import { SyscallLatency } from '../programs/syscall-latency.ts';
import { TcClassifier } from '../programs/tc-classifier.ts';
import type { TracepointNet } from '../programs/tracepoint-net.ts';
import { XdpCounter } from '../programs/xdp-counter.ts';
import { XdpGuard } from '../programs/xdp-guard.ts';
import { FAMILIES } from './families.ts';
import { addPrograms } from './program-samples.ts';
import type { Sheet } from './sheet.ts';
import type { Source } from './source.ts';

/** A bundled program. */
export type BundledProgram = XdpCounter | XdpGuard | TcClassifier | SyscallLatency | TracepointNet;

const NS = 1e-9;

/** A bundled program as a source of metrics. @internal */
export class BundledSource implements Source {
  readonly name: string;
  readonly #program: BundledProgram;
  readonly #bundled: Bundled;
  readonly #flows: number;

  /** @param flows how many flows of a TcClassifier have series */
  constructor(program: BundledProgram, flows: number) {
    const bundled = bundledOf(program);
    if (!bundled) {
      throw new TypeError(
        'Expected an XdpCounter, XdpGuard, TcClassifier, SyscallLatency or TracepointNet; a map is for addMap()',
      );
    }
    this.#program = program;
    this.#bundled = bundled;
    this.#flows = flows;
    this.name = bundled.iface === undefined ? bundled.name : `${bundled.name}:${bundled.iface}`;
  }

  look(sheet: Sheet, counted: Map<number, number>): void {
    const program = this.#program;
    const { object, attachments, iface = '', name } = this.#bundled;
    addPrograms(sheet, Object.values(object.programs));
    for (const { type, link } of attachments) addAttached(sheet, iface, type, link);
    if (program instanceof XdpCounter) lookAtPackets(sheet, program, iface);
    else if (program instanceof XdpGuard) lookAtGuard(sheet, program, iface);
    else if (program instanceof TcClassifier) {
      const flows = lookAtFlows(sheet, program, iface, this.#flows);
      counted.set(object.map('flows').id, flows);
      sheet.add(FAMILIES.mapEntries, { program: name, map: 'flows' }, flows);
      sheet.add(FAMILIES.mapMaxEntries, { program: name, map: 'flows' }, program.maxFlows);
    } else if (program instanceof SyscallLatency) lookAtSyscalls(sheet, program);
    else lookAtNet(sheet, program);
  }

  health(): ComponentHealth[] {
    const { attachments, name, iface } = this.#bundled;
    const where = iface === undefined ? '' : ` on ${iface}`;
    return [
      component(`program:${this.name}`, () => {
        const links = attachments.map(({ link }) => link);
        const states = links.map(stateOf);
        const bad = states.filter((state) => state !== 'attached');
        const details = { links: links.map(({ id, kind }) => ({ id, kind })), states };
        if (bad.length === 0) return { status: 'healthy', message: `${name}${where} is attached`, details };
        const status = bad.length === states.length ? 'unhealthy' : 'degraded';
        return {
          status,
          message: `${name}${where}: ${bad.length} of ${states.length} links are ${bad[0]}`,
          details,
        };
      }),
    ];
  }
}

function stateOf(link: BpfLink): ReturnType<BpfLink['state']> | 'closed' {
  return link.closed ? 'closed' : link.state();
}

/** One that the kernel has. @internal */
export function addAttached(sheet: Sheet, iface: string, type: string, link: BpfLink): void {
  if (stateOf(link) !== 'attached') return;
  const labels = { interface: iface, program_type: type };
  sheet.add(FAMILIES.programsAttached, labels, 1);
  sheet.add(FAMILIES.programsAttachedTotal, labels, 1);
}

function lookAtPackets(sheet: Sheet, counter: XdpCounter, iface: string): void {
  for (const [protocol, { packets, bytes }] of Object.entries(counter.read())) {
    sheet.add(FAMILIES.packets, { interface: iface, protocol }, packets);
    sheet.add(FAMILIES.packetBytes, { interface: iface, protocol }, bytes);
  }
}

function lookAtGuard(sheet: Sheet, guard: XdpGuard, iface: string): void {
  for (const [verdict, { packets, bytes }] of Object.entries(guard.totals())) {
    sheet.add(FAMILIES.guardPackets, { interface: iface, verdict }, packets);
    sheet.add(FAMILIES.guardBytes, { interface: iface, verdict }, bytes);
  }
}

function lookAtFlows(sheet: Sheet, classifier: TcClassifier, iface: string, top: number): number {
  for (const [name, directions] of Object.entries(classifier.classes())) {
    for (const direction of ['ingress', 'egress'] as const) {
      const labels = { interface: iface, class: name, direction };
      sheet.add(FAMILIES.flowClassPackets, labels, directions[direction].packets);
      sheet.add(FAMILIES.flowClassBytes, labels, directions[direction].bytes);
    }
  }
  const flows = classifier.flows(Number.POSITIVE_INFINITY);
  for (const flow of flows.slice(0, top)) {
    const labels = {
      interface: iface,
      direction: flow.direction,
      protocol: flow.protocol,
      source: flow.source,
      source_port: `${flow.sourcePort}`,
      destination: flow.destination,
      destination_port: `${flow.destinationPort}`,
    };
    sheet.add(FAMILIES.flowPackets, labels, flow.packets);
    sheet.add(FAMILIES.flowBytes, labels, flow.bytes);
  }
  sheet.leaveOut(FAMILIES.flowBytes, flows.length - top);
  const { created, evicted } = classifier.flowAccount();
  sheet.add(FAMILIES.flowsCreated, { interface: iface }, created);
  sheet.add(FAMILIES.flowsEvicted, { interface: iface }, evicted);
  return flows.length;
}

function lookAtSyscalls(sheet: Sheet, latency: SyscallLatency): void {
  for (const [syscall, { slots, sumNs }] of Object.entries(latency.read())) {
    // Slot i ends below 2^(i + 1) ns; the last has no end.
    const bounds = Array.from({ length: slots.length - 1 }, (_, i) => 2 ** (i + 1) * NS);
    sheet.addDistribution(FAMILIES.syscallLatency, { syscall }, { bounds, counts: slots, sum: sumNs * NS });
  }
  const { noRoom, noReturn, notRun } = latency.lost();
  sheet.add(FAMILIES.syscallsLost, { reason: 'no_room' }, noRoom);
  sheet.add(FAMILIES.syscallsLost, { reason: 'no_return' }, noReturn);
  sheet.add(FAMILIES.syscallsLost, { reason: 'not_run' }, notRun);
}

function lookAtNet(sheet: Sheet, net: TracepointNet): void {
  for (const [name, { rx, tx }] of Object.entries(net.interfaces())) {
    for (const [direction, { packets, bytes }] of Object.entries({ receive: rx, transmit: tx })) {
      sheet.add(FAMILIES.netPackets, { interface: name, direction }, packets);
      sheet.add(FAMILIES.netBytes, { interface: name, direction }, bytes);
    }
  }
  for (const [reason, count] of Object.entries(net.drops())) sheet.add(FAMILIES.netDrops, { reason }, count);
  const { tcp, lost } = net.activity();
  sheet.add(FAMILIES.netRetransmits, {}, tcp.retransmits);
  for (const [transition, count] of Object.entries(tcp.transitions)) {
    const [from = '', to = ''] = transition.split('→');
    sheet.add(FAMILIES.netTransitions, { from, to }, count);
  }
  sheet.add(FAMILIES.netLost, {}, lost);
}
