import { type Command, InvalidArgumentError, Option } from 'commander';
import { EbpfAttachError } from '../../core/errors.ts';
import { FlowMeter, type FlowSample } from '../../meters/flow-meter.ts';
import { type ClassRule, ruleTable } from '../../programs/class-rules.ts';
import type { TcClassifier } from '../../programs/tc-classifier.ts';
import { positiveNumber, wholeNumber } from '../terminal/arguments.ts';
import { chooseView } from '../terminal/choose-view.ts';
import { endOfRun } from '../terminal/pace.ts';
import { watch } from '../terminal/watch.ts';
import { type FlowSubject, JsonView, LineView } from './view.ts';

interface FlowsOptions {
  seconds?: number;
  netns?: string;
  top: number;
  direction: FlowSubject['direction'];
  rule?: ClassRule[];
  json?: true;
}

export function addFlows(program: Command): void {
  program
    .command('flows')
    .description('show the fastest flows of an interface, in and out, once per second')
    .argument('<iface>', 'the interface')
    .option('--netns <path>', 'network namespace of the interface, such as /run/netns/blue')
    .option('--top <n>', 'number of flows to show', wholeNumber({ least: 1, most: 999_999_999 }), 10)
    .addOption(
      new Option('--direction <way>', 'packets that arrive, packets that leave, or both')
        .choices(['ingress', 'egress', 'both'])
        .default('both'),
    )
    .option(
      '--rule <name=tcp/port>',
      'put packets from or to a TCP or UDP port into a class; repeatable',
      addRule,
    )
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
Every packet is counted and passed on. A GSO or GRO packet counts as the segments that are on the wire.
^C or SIGTERM detaches and prints the totals. Needs CAP_BPF and CAP_NET_ADMIN.
A terminal shows a table, a pipe gets one line per second; the last one is taken at the end.

Examples:
  $ node-ebpf flows eth0
  $ node-ebpf flows eth0 --rule web=tcp/443 --rule web=tcp/80 --rule dns=udp/53
  $ node-ebpf flows eth0 --json --top 1 | jq '.flows[0]'
  $ node-ebpf flows veth0 --netns /run/netns/blue --direction egress --seconds 10`,
    )
    .action(flows);
}

/** @internal */
export function addRule(text: string, before: readonly ClassRule[] = []): ClassRule[] {
  const [, name = '', protocol = '', port = ''] = /^([^=]*)=([^/]*)\/(\d{1,5})$/.exec(text) ?? [];
  if (port === '') throw new InvalidArgumentError('Expected a rule such as web=tcp/443.');
  const rules = [...before, { class: name, protocol: protocol as ClassRule['protocol'], port: Number(port) }];
  try {
    ruleTable(rules);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
  return rules;
}

async function flows(iface: string, options: FlowsOptions): Promise<void> {
  const end = endOfRun();
  try {
    const { TcClassifier } = await import('../../programs/index.ts');
    const { netns, direction, rule: rules = [] } = options;
    const target = { iface, ...(netns === undefined ? {} : { netns }) };
    // Leaves nothing behind: removes the qdisc too if this command made it and no other program uses it.
    const classifier = await TcClassifier.attach({ ...target, direction, rules, removeQdisc: true });
    try {
      await show(classifier, iface, options, end.signal);
    } finally {
      classifier.close();
    }
  } finally {
    end.forget();
  }
}

async function show(
  classifier: TcClassifier,
  iface: string,
  { direction, top, seconds, json }: FlowsOptions,
  signal: AbortSignal,
): Promise<void> {
  const via = classifier.links[0]?.via ?? 'tcx';
  const subject: FlowSubject = { iface, direction, via, top };
  const meter = new FlowMeter(classifier);
  const view = await chooseView<FlowSample>(json, {
    json: () => new JsonView(subject),
    lines: () => new LineView(subject),
    async screen() {
      const { flowFrame } = await import('./frame.ts');
      return (sample, final) => (area) => flowFrame(subject, sample, final, area);
    },
  });
  await watch({
    view,
    sample: () => meter.sample(),
    detach: () => classifier.close(),
    check() {
      if (classifier.links.some((link) => link.state() !== 'attached')) throw lostAttachment(iface);
    },
    seconds,
    signal,
  });
}

function lostAttachment(iface: string): EbpfAttachError {
  return new EbpfAttachError(`flows ${iface}: the classifier is no longer attached`, {
    code: 'ERR_EBPF_NOT_ATTACHED',
    target: iface,
    hint: 'the interface is gone, or the program was detached or replaced from outside',
  });
}
