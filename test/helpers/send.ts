import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Frame } from './frames.ts';
import type { Netns } from './netns.ts';

/** Not `python3` from the PATH: a shim there may not see the namespace or the machine's own modules. */
export const PYTHON = '/usr/bin/python3';
const SCRIPT = fileURLToPath(new URL('./send_frames.py', import.meta.url));

export interface Batch {
  readonly frame: Frame;
  readonly count: number;
}

export interface SendOptions {
  readonly netns: Netns;
  /** The interface that the frames leave on. */
  readonly iface: string;
  /**
   * The interface in the same namespace that they arrive on: the other end of a veth, or lo itself (the
   * default).
   */
  readonly receiver?: string;
  /** Pins the sender, and with it the softirq that receives on veth and lo, to one CPU. */
  readonly cpu?: number;
  /** Frames in flight: at most 256 on a veth with XDP, 1000 on lo. */
  readonly chunk?: number;
  readonly seconds?: number;
}

export interface SendReport {
  readonly sent: number;
  readonly bytes: number;
  /**
   * The receiving interface's packet counter; equal to `sent` when nothing was lost and nothing else was
   * about.
   */
  readonly received: number;
  /** Also counts frames that arrived and that no protocol wanted. */
  readonly rxDropped: number;
  readonly txDropped: number;
  /** Drops of every CPU's backlog, on the whole machine. */
  readonly backlogDropped: number;
}

export interface SocketOptions {
  readonly netns: Netns;
  /** An address of the namespace's own lo. */
  readonly address: string;
  readonly count: number;
  /** Bytes of payload. */
  readonly size?: number;
  readonly cpu?: number;
  readonly seconds?: number;
}

export interface SocketReport {
  /** Packets that crossed lo, replies of the stack included. */
  readonly packets: number;
  /** Their bytes with the 14-byte Ethernet header that lo has too. */
  readonly bytes: number;
}

function run<T>(netns: Netns, job: Record<string, unknown>): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = spawn('ip', ['netns', 'exec', netns.name, PYTHON, '-S', '-E', SCRIPT], { stdio: 'pipe' });
    // The sender keeps its own deadline; it must not outlive a test process that is told to exit.
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.stdin.on('error', () => {}); // EPIPE: it ended early, and its exit status says why
    child.on('error', reject);
    child.on('close', (status, signal) => {
      process.off('exit', kill);
      if (status === 0) resolve(JSON.parse(output) as T);
      else reject(new Error(complaint.trim() || `send_frames.py ended with ${signal ?? `status ${status}`}`));
    });
    child.stdin.end(JSON.stringify({ seconds: 30, ...job }));
  });
}

/**
 * Sends frames in the order given, losing none; resolves when all of them have gone through the receiver's
 * XDP hook.
 */
export function sendFrames(batches: readonly Batch[], options: SendOptions): Promise<SendReport> {
  const { netns, iface, receiver = iface, chunk = 64, ...rest } = options;
  const frames = batches.map(({ frame, count }) => ({ frame: Buffer.from(frame).toString('hex'), count }));
  return run(netns, { mode: 'frames', interface: iface, receiver, chunk, frames, ...rest });
}

/** ICMP or ICMPv6 echo requests that the stack answers: twice as many packets on lo. */
export function echo({ netns, size = 56, ...rest }: SocketOptions): Promise<SocketReport> {
  return run(netns, { mode: 'echo', size, ...rest });
}

/** UDP datagrams to a bound socket. */
export function datagrams({ netns, size = 64, ...rest }: SocketOptions): Promise<SocketReport> {
  return run(netns, { mode: 'datagrams', size, ...rest });
}

/**
 * TCP connections to a closed port: a SYN and a RST each. Their sizes are the stack's own affair and not
 * reported.
 */
export function refusedConnections({
  netns,
  ...rest
}: Omit<SocketOptions, 'size'>): Promise<Pick<SocketReport, 'packets'>> {
  return run(netns, { mode: 'refused', ...rest });
}
