import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Netns } from './netns.ts';
import { PYTHON } from './send.ts';

const SCRIPT = fileURLToPath(new URL('./traffic.py', import.meta.url));
const run = promisify(execFile);

export interface Traffic {
  /** `unheard` goes to a closed UDP port; `connections` are TCP, of which the client closes first. */
  readonly mode: 'datagrams' | 'unheard' | 'connections';
  readonly client: Netns;
  readonly server: Netns;
  /** Of the server. */
  readonly address: string;
  readonly count: number;
  /** Bytes of each datagram or connection. */
  readonly size: number;
}

/** Traffic of sockets, over when this resolves but for what the stack still has to say. */
export async function traffic({ client, server, ...job }: Traffic): Promise<void> {
  const child = run(PYTHON, [SCRIPT]);
  child.child.stdin?.end(JSON.stringify({ ...job, client: client.path, server: server.path }));
  await child;
}

export interface Counted {
  packets: number;
  bytes: number;
}

/** /proc/net/dev of a namespace. */
export function interfaceCounters(netns: Netns): Record<string, { rx: Counted; tx: Counted }> {
  const lines = netns.exec('cat', ['/proc/net/dev']).trimEnd().split('\n').slice(2);
  return Object.fromEntries(
    lines.map((line) => {
      const [name = '', rest = ''] = line.split(':');
      const field = rest.trim().split(/\s+/).map(Number);
      const at = (index: number) => ({ bytes: field[index] ?? 0, packets: field[index + 1] ?? 0 });
      return [name.trim(), { rx: at(0), tx: at(8) }];
    }),
  );
}

/** A counter of /proc/net/snmp (`Udp`, `NoPorts`) or, without a group, of /proc/net/snmp6. */
export function stackCounter(netns: Netns, name: string, group?: string): number {
  if (group === undefined) {
    const line = netns.exec('grep', ['-w', name, '/proc/net/snmp6']);
    return Number(line.trim().split(/\s+/)[1]);
  }
  const [names = [], values = []] = netns
    .exec('grep', [`^${group}: `, '/proc/net/snmp'])
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  return Number(values[names.indexOf(name)]);
}

/** The number that the kernel has for a namespace. */
export function netnsInode(netns: Netns): number {
  return statSync(netns.path).ino;
}
