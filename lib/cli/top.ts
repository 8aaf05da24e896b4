import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { EbpfAttachError } from '../errors.ts';
import type { XdpMode } from '../link.ts';
import type { XdpCounter } from '../programs/index.ts';
import { Meter, type Sample } from './meter.ts';
import { stdoutLost } from './output.ts';
import { JsonView, LineView, type Subject, type View } from './view.ts';

interface TopOptions {
  seconds?: number;
  mode: XdpMode;
  netns?: string;
  demo?: true;
  json?: true;
}

const INTERVAL_MS = 1000;

export function addTop(program: Command): void {
  program
    .command('top')
    .description('count the packets that an interface receives, by protocol, once a second')
    .argument('[iface]', 'the interface', 'lo')
    .option('--seconds <n>', 'stop after so many seconds', positiveNumber)
    .addOption(
      new Option('--mode <mode>', 'where to start: hw tries hw, drv and skb, drv tries drv and skb')
        .choices(['hw', 'drv', 'skb'])
        .default('drv'),
    )
    .option('--netns <path>', 'the network namespace of the interface, such as /run/netns/blue')
    .option('--demo', 'on lo, send a few packets of its own to count')
    .option('--json', 'print one JSON object per line')
    .addHelpText(
      'after',
      `
Every packet is counted and passed on. ^C or SIGTERM detaches and prints the totals. Takes CAP_BPF and CAP_NET_ADMIN.
A terminal gets a table, a pipe gets a line per second; the last one is as of the end.

Examples:
  $ node-ebpf top eth0
  $ node-ebpf top lo --demo --seconds 10
  $ node-ebpf top eth0 --json | jq .rates.udp.packets
  $ node-ebpf top veth0 --netns /run/netns/blue --mode skb`,
    )
    .action(top);
}

/** @internal */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || value <= 0)
    throw new InvalidArgumentError('Expected a number of seconds above 0.');
  return value;
}

async function top(iface: string, options: TopOptions): Promise<void> {
  const end = endOfRun();
  try {
    const { XdpCounter } = await import('../programs/index.ts');
    const { netns, mode } = options;
    const counter = await XdpCounter.attach({ iface, mode, ...(netns === undefined ? {} : { netns }) });
    try {
      await watch(counter, iface, options, end.signal);
    } finally {
      counter.close();
    }
  } finally {
    end.forget();
  }
}

async function watch(
  counter: XdpCounter,
  iface: string,
  options: TopOptions,
  signal: AbortSignal,
): Promise<void> {
  // Packets of our own are of use only where they can be seen.
  const demo = options.demo && iface === 'lo' && options.netns === undefined ? await startDemo() : undefined;
  const subject: Subject = { iface, mode: counter.link.mode };
  if (demo) subject.note = 'demo: sends UDP datagrams and TCP connections of its own on 127.0.0.1';
  const meter = new Meter(() => counter.read());
  const view = await chooseView(subject, options);
  let last = meter.sample();
  view.open(last);
  try {
    for await (const sample of everySecond(meter, options.seconds, signal)) {
      last = sample;
      view.show(sample);
      if (counter.link.state() !== 'attached') throw lostAttachment(iface);
    }
  } finally {
    demo?.stop();
    counter.close();
    view.close(last);
  }
}

async function startDemo(): Promise<{ stop(): void }> {
  const { startDemo } = await import('./demo.ts');
  return startDemo();
}

async function chooseView(subject: Subject, { json }: TopOptions): Promise<View> {
  if (json) return new JsonView(subject);
  if (!process.stdout.isTTY || process.env.TERM === 'dumb') return new LineView(subject);
  const { ScreenView } = await import('./screen.ts');
  return new ScreenView(subject);
}

/** A sample at every full second, and one at the end, whether that comes by time or by signal. */
async function* everySecond(
  meter: Meter,
  seconds = Number.POSITIVE_INFINITY,
  signal: AbortSignal,
): AsyncGenerator<Sample> {
  const start = performance.now();
  const end = start + seconds * 1000;
  let next = start;
  do {
    // From the start, not from the last sample: delays do not add up. A second that was slept through is left out.
    const behind = Math.floor((performance.now() - next) / INTERVAL_MS);
    next = Math.min(next + INTERVAL_MS * (1 + Math.max(behind, 0)), end);
    await sleep(next - performance.now(), undefined, { signal }).catch(() => {});
    yield meter.sample();
  } while (next < end && !signal.aborted);
}

/** Aborted by the first ^C, by SIGTERM, or when nobody reads the output. A second ^C is the system's: it ends at once. */
function endOfRun(): { signal: AbortSignal; forget(): void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const asked = new AbortController();
  const ask = () => {
    forget();
    asked.abort();
  };
  const forget = () => {
    for (const name of signals) process.off(name, ask);
  };
  for (const name of signals) process.on(name, ask);
  return { signal: AbortSignal.any([asked.signal, stdoutLost]), forget };
}

function lostAttachment(iface: string): EbpfAttachError {
  return new EbpfAttachError(`top ${iface}: the counter is no longer attached`, {
    code: 'ERR_EBPF_NOT_ATTACHED',
    target: iface,
    hint: 'the interface is gone, or somebody detached or replaced the program',
  });
}
