import { type Command, Option } from 'commander';
import { EbpfAttachError } from '../../core/errors.ts';
import type { XdpMode } from '../../core/xdp-mode.ts';
import { Meter, type Sample } from '../../meters/packet-meter.ts';
import type { XdpCounter } from '../../programs/xdp-counter.ts';
import { positiveNumber } from '../terminal/arguments.ts';
import { chooseView } from '../terminal/choose-view.ts';
import { endOfRun } from '../terminal/pace.ts';
import { watch } from '../terminal/watch.ts';
import { JsonView, LineView, type Subject } from './view.ts';

interface TopOptions {
  seconds?: number;
  mode: XdpMode;
  netns?: string;
  demo?: true;
  json?: true;
}

export function addTop(program: Command): void {
  program
    .command('top')
    .description('count the packets that an interface receives, by protocol, once per second')
    .argument('[iface]', 'the interface', 'lo')
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .addOption(
      new Option(
        '--mode <mode>',
        'XDP mode to try first: hw falls back to drv, then skb; drv falls back to skb',
      )
        .choices(['hw', 'drv', 'skb'])
        .default('drv'),
    )
    .option('--netns <path>', 'network namespace of the interface, such as /run/netns/blue')
    .option('--demo', 'on lo, also send a few packets to count')
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
Every packet is counted and passed on. ^C or SIGTERM detaches and prints the totals. Needs CAP_BPF and CAP_NET_ADMIN.
A terminal shows a table, a pipe gets one line per second; the last one is taken at the end.

Examples:
  $ node-ebpf top eth0
  $ node-ebpf top lo --demo --seconds 10
  $ node-ebpf top eth0 --json | jq .rates.udp.packets
  $ node-ebpf top veth0 --netns /run/netns/blue --mode skb`,
    )
    .action(top);
}

async function top(iface: string, options: TopOptions): Promise<void> {
  const end = endOfRun();
  try {
    const { XdpCounter } = await import('../../programs/index.ts');
    const { netns, mode } = options;
    const counter = await XdpCounter.attach({ iface, mode, ...(netns === undefined ? {} : { netns }) });
    try {
      await show(counter, iface, options, end.signal);
    } finally {
      counter.close();
    }
  } finally {
    end.forget();
  }
}

async function show(
  counter: XdpCounter,
  iface: string,
  { netns, seconds, json, ...options }: TopOptions,
  signal: AbortSignal,
): Promise<void> {
  // On other interfaces the demo's packets cannot be seen.
  const demo = options.demo && iface === 'lo' && netns === undefined ? await startDemo() : undefined;
  try {
    const subject: Subject = { iface, mode: counter.link.mode };
    if (demo) subject.note = 'demo: also sends UDP datagrams and makes TCP connections on 127.0.0.1';
    const meter = new Meter(() => counter.read());
    const view = await chooseView<Sample>(json, {
      json: () => new JsonView(subject),
      lines: () => new LineView(subject),
      async screen() {
        const { frame } = await import('./frame.ts');
        return (sample, final) => (area) => frame({ subject, sample, final }, area);
      },
    });
    await watch({
      view,
      sample: () => meter.sample(),
      detach: () => counter.close(),
      check() {
        if (counter.link.state() !== 'attached') throw lostAttachment(iface);
      },
      seconds,
      signal,
    });
  } finally {
    demo?.stop();
  }
}

async function startDemo(): Promise<{ stop(): void }> {
  const { startDemo } = await import('../demo.ts');
  return startDemo();
}

function lostAttachment(iface: string): EbpfAttachError {
  return new EbpfAttachError(`top ${iface}: the counter is no longer attached`, {
    code: 'ERR_EBPF_NOT_ATTACHED',
    target: iface,
    hint: 'the interface is gone, or the program was detached or replaced from outside',
  });
}
