import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { EbpfError } from '../../core/errors.ts';
import type { AttachMode } from '../../program/xdp-negotiation.ts';
import type { Observable, Observer } from '../../serve/observer.ts';
import type { Server } from '../../serve/server.ts';
import { positiveNumber, wholeNumber } from '../terminal/arguments.ts';
import { printable } from '../terminal/output.ts';
import { endOfRun, ticks } from '../terminal/pace.ts';
import type { ServeView } from './view.ts';

interface Address {
  host: string;
  port: number;
}

interface ServeOptions {
  listen: Address;
  tokenFile?: string;
  programs?: Observable[];
  mode: AttachMode;
  netns?: string;
  flows?: number;
  flood?: number;
  seconds?: number;
  view: 'auto' | 'table' | 'lines' | 'none';
  demo?: true;
}

const INTERVAL_MS = 1000;
const PROGRAMS = ['packets', 'flows', 'net', 'latency']; // OBSERVABLE, whose file is loaded only when serving
const DEFAULT: Address = { host: '127.0.0.1', port: 9435 };

export function addServe(program: Command): void {
  program
    .command('serve')
    .description('serve a live page, Prometheus metrics and health for interfaces and system calls')
    .argument('[ifaces...]', 'the interfaces', ['lo'])
    .addOption(
      new Option('--listen <address>', 'a port, or an address and a port')
        .argParser(address)
        .default(DEFAULT, '127.0.0.1:9435'),
    )
    .option('--token-file <path>', 'file with the token that requests need')
    .option('--programs <names>', `comma-separated, from ${PROGRAMS.join(', ')}; default: all`, programs)
    .addOption(
      new Option(
        '--mode <mode>',
        'XDP mode to try first: hw falls back to drv, then skb; drv falls back to skb',
      )
        .choices(['hw', 'drv', 'skb'])
        .default('drv'),
    )
    .option('--netns <path>', 'network namespace of the interfaces, such as /run/netns/blue')
    .option('--flows <n>', 'number of flows with series in the metrics (20)', wholeNumber({ most: 999_999 }))
    .option(
      '--flood <n>',
      'packets per second on an interface that count as a flood (100000)',
      positiveNumber,
    )
    .option('--seconds <n>', 'stop after this many seconds', positiveNumber)
    .addOption(
      new Option(
        '--view <view>',
        'output of the command itself: auto shows a table on a terminal, and only events elsewhere',
      )
        .choices(['auto', 'table', 'lines', 'none'])
        .default('auto'),
    )
    .option('--demo', 'on lo, also send a few packets to count')
    .addHelpText(
      'after',
      `
/ is the page, /metrics is for Prometheus, /health for probes (503 if nothing is attached). Every packet is counted and
passed on. If a program cannot be attached, the page and /health show why, and the others run; if none can, the
command fails. ^C or SIGTERM detaches. Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.

If the address is not loopback, requests need a token (Authorization: Bearer …): the one in --token-file, or a new one
that is printed. Without it, /health shows only its status. For TLS, put a proxy in front.

Examples:
  $ node-ebpf serve eth0
  $ node-ebpf serve eth0 eth1 --programs packets,net
  $ node-ebpf serve eth0 --listen 0.0.0.0:9435 --token-file /etc/node-ebpf/token
  $ node-ebpf serve veth0 --netns /run/netns/blue --listen 8080`,
    )
    .action(serve);
}

/** @internal */
export function address(text: string): Address {
  const [, bracketed, host = bracketed, port] =
    /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 0xffff) {
    throw new InvalidArgumentError(
      'Expected a port or an address and a port: 9435, 0.0.0.0:9435, [::]:9435.',
    );
  }
  return { host: host || DEFAULT.host, port: Number(port) };
}

/** @internal */
export function programs(text: string): Observable[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.some((name) => !PROGRAMS.includes(name))) {
    throw new InvalidArgumentError(`Expected some of ${PROGRAMS.join(', ')}.`);
  }
  return names as Observable[];
}

async function serve(ifaces: string[], options: ServeOptions): Promise<void> {
  const end = endOfRun();
  try {
    const { Observer } = await import('../../serve/observer.ts');
    const { netns, mode, flows, flood } = options;
    const interfaces = [...new Set(ifaces)];
    const token = await tokenOf(options);
    const observer = new Observer({
      interfaces,
      netns,
      mode,
      ...(options.programs ? { programs: options.programs } : {}),
      ...(flows === undefined ? {} : { flows }),
      ...(flood === undefined ? {} : { flood }),
    });
    try {
      const { Server } = await import('../../serve/server.ts');
      // The port comes first: if it is taken, nothing has been attached.
      const { host, port } = options.listen;
      const { metrics } = observer;
      const server = await Server.listen({
        host,
        port,
        token: token?.value,
        metrics,
        hello: () => observer.hello(),
      });
      try {
        await observer.attach();
        const [missing] = observer.missing;
        if (missing && !observer.isAttached) throw missing.error;
        await run(observer, server, { ...options, token, interfaces }, end.signal);
      } finally {
        await server.close();
      }
    } finally {
      observer.close();
    }
  } finally {
    end.forget();
  }
}

interface Token {
  value: string;
  /** Whether it was made now, and has to be printed. */
  made: boolean;
}

/** Undefined if the address is loopback and there is no --token-file. */
async function tokenOf({ listen, tokenFile }: ServeOptions): Promise<Token | undefined> {
  const { isLoopback, newToken } = await import('../../serve/access.ts');
  if (tokenFile !== undefined) {
    const value = readToken(tokenFile);
    return { value, made: false };
  }
  return isLoopback(listen.host) ? undefined : { value: newToken(), made: true };
}

function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    throw new EbpfError(`read the token file: ${message}`, { code, cause: error });
  }
  if (/^[\x21-\x7e]{16,}$/.test(text)) return text;
  throw new EbpfError(
    `read the token file ${path}: expected one line of at least 16 printable ASCII characters without spaces`,
    {
      code: 'ERR_EBPF_TOKEN',
      hint: `make a token: openssl rand -base64 24 > ${path}`,
    },
  );
}

async function run(
  observer: Observer,
  server: Server,
  options: ServeOptions & { token: Token | undefined; interfaces: readonly string[] },
  signal: AbortSignal,
): Promise<void> {
  const { token, interfaces, demo, netns } = options;
  // On other interfaces the demo's packets cannot be seen.
  const sends = demo && interfaces.includes('lo') && netns === undefined;
  const traffic = sends ? await (await import('../demo.ts')).startDemo() : undefined;
  const url = token?.made ? `${server.url}#token=${token.value}` : server.url;
  const view = await chooseView(options, { url, interfaces, demo: sends === true });
  let last = await observer.observe();
  view.open(last);
  for (const { name, error } of observer.missing)
    view.log(`${name} is not attached: ${printable(error.message)}`);
  try {
    for await (const _ of ticks(INTERVAL_MS, options.seconds, signal)) {
      last = await observer.observe();
      server.viewers.send('update', () => [last.update, last.now]);
      for (const { reason } of last.decisions) view.log(printable(reason));
      view.show(last);
    }
  } finally {
    traffic?.stop();
    observer.close();
    view.close(last);
  }
}

async function chooseView(
  { view }: ServeOptions,
  subject: { url: string; interfaces: readonly string[]; demo: boolean },
): Promise<ServeView> {
  const { onTerminal } = await import('../terminal/screen.ts');
  const { LineServeView, QuietServeView } = await import('./view.ts');
  if (view === 'none' || (view === 'auto' && !onTerminal())) return new QuietServeView(subject);
  if (view === 'lines' || !onTerminal()) return new LineServeView(subject);
  const { ScreenServeView } = await import('./frame.ts');
  return new ScreenServeView(subject);
}
