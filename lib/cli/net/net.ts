import type { Command } from 'commander';
import { NetMeter, type NetSample } from '../../meters/net-meter.ts';
import type { TracepointNet } from '../../programs/tracepoint-net.ts';
import { positiveNumber } from '../terminal/arguments.ts';
import { chooseView } from '../terminal/choose-view.ts';
import { endOfRun } from '../terminal/pace.ts';
import { watch } from '../terminal/watch.ts';
import { JsonNetView, LineNetView } from './view.ts';

interface NetOptions {
  iface?: string;
  netns?: string;
  seconds?: number;
  json?: true;
}

export function addNet(program: Command): void {
  program
    .command('net')
    .description(
      'count packets sent and received per interface, drops by reason and TCP events, once per second',
    )
    .option('--iface <name>', 'only this interface; TCP is always counted on all interfaces')
    .option('--netns <path>', 'count in this network namespace, such as /run/netns/blue')
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
No packet is changed. ^C or SIGTERM detaches and prints the totals. Needs CAP_BPF and CAP_PERFMON.
A terminal shows tables; a pipe gets one line per second for all interfaces, and one per interface at the end.

Examples:
  $ node-ebpf net
  $ node-ebpf net --iface eth0 --seconds 10
  $ node-ebpf net --json | jq .rates.drops
  $ node-ebpf net --netns /run/netns/blue`,
    )
    .action(net);
}

async function net(options: NetOptions): Promise<void> {
  const end = endOfRun();
  try {
    const { TracepointNet } = await import('../../programs/index.ts');
    const { iface, netns } = options;
    const counter = await TracepointNet.attach({
      ...(iface === undefined ? {} : { iface }),
      ...(netns === undefined ? {} : { netns }),
    });
    try {
      await show(counter, options, end.signal);
    } finally {
      counter.close();
    }
  } finally {
    end.forget();
  }
}

async function show(
  counter: TracepointNet,
  { iface, netns, seconds, json }: NetOptions,
  signal: AbortSignal,
): Promise<void> {
  const meter = new NetMeter(() => ({
    interfaces: counter.interfaces(),
    drops: counter.drops(),
    tcp: counter.tcp(),
    lost: counter.lost,
  }));
  const title = [iface ?? 'all interfaces', ...(netns === undefined ? [] : [`of ${netns}`])].join(' ');
  const view = await chooseView<NetSample>(json, {
    json: () => new JsonNetView(),
    lines: () => new LineNetView(title),
    async screen() {
      const { netFrame } = await import('./frame.ts');
      return (sample, final) => (area) => netFrame({ title, sample, final }, area);
    },
  });
  await watch({ view, sample: () => meter.sample(), detach: () => counter.close(), seconds, signal });
}
