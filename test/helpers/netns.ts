import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { afterAll } from 'vitest';
import { SLOWNESS } from './slowness.ts';

export interface Interface {
  readonly name: string;
  readonly ifindex: number;
  /** The Ethernet address, as in 02:00:00:00:00:01. */
  readonly mac: string;
}

export interface Veth {
  readonly a: Interface;
  readonly b: Interface;
}

interface IpLink {
  ifindex: number;
  ifname: string;
  address: string;
  operstate: string;
  qdisc: string;
}

const FOLDER = '/run/netns';
// Test files that run in threads are of one process, and each of them counts from 0.
const OURS = `node-ebpf-${process.pid}-${threadId}-`;
let made = 0;
const open = new Set<Netns>();

// A test that throws outside its own finally, or a process that ends early, still takes its namespaces along.
// A worker thread of vitest is terminated, and has no exit.
const closeAll = () => {
  for (const netns of [...open]) netns.close();
};
afterAll(closeAll);
process.on('exit', closeAll);

/** Removes what a test process left that was killed: namespaces that carry the number of a process that is gone. */
function sweep(): void {
  for (const name of existsSync(FOLDER) ? readdirSync(FOLDER) : []) {
    const pid = /^node-ebpf-(\d+)-[\d-]+$/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    // Another test process may sweep at the same moment: whoever comes second finds nothing to remove.
    spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
  }
}

/**
 * Settings that keep the kernel silent: no link-local address, no duplicate address detection, no router
 * solicitation, so that what a test counts is what the test sent. They go into `default` before an interface
 * is made and into lo before it comes up.
 */
const QUIET = `
for conf in all default lo; do
  dir=/proc/sys/net/ipv6/conf/$conf
  [ -d $dir ] || continue
  echo 1 >$dir/addr_gen_mode
  for name in autoconf accept_ra router_solicitations accept_dad dad_transmits; do echo 0 >$dir/$name; done
done`;

// A process that has much memory forks slowly: what belongs together is one command of the shell, or one batch of ip(8).
const MAKE = `ip netns add "$1"; exec ip netns exec "$1" sh -ec "$2"`;

/** A private network namespace. Everything in it goes with it: interfaces, addresses, attached programs. */
export class Netns implements Disposable {
  readonly name: string;
  /** What the library takes as `netns`. */
  readonly path: string;
  #veths = 0;

  constructor() {
    if (made === 0) sweep();
    this.name = `${OURS}${made++}`;
    this.path = `${FOLDER}/${this.name}`;
    try {
      execFileSync('sh', ['-ec', MAKE, 'sh', this.name, QUIET], { stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      spawnSync('ip', ['netns', 'delete', this.name], { stdio: 'ignore' });
      throw error;
    }
    open.add(this);
  }

  /** Runs a command inside and returns its standard output; throws with its standard error when it fails. */
  exec(command: string, args: readonly string[] = [], input = ''): string {
    return execFileSync('ip', ['netns', 'exec', this.name, command, ...args], {
      encoding: 'utf8',
      input,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  /**
   * Runs ip(8) or tc(8) inside with an object file to load: they make folders of theirs in the first BPF file system of
   * their mount namespace, and it shall not be another test's.
   */
  execLoader(command: 'ip' | 'tc', args: readonly string[], input = ''): void {
    // `ip netns exec` has made a mount namespace, with a new /sys.
    const body = 'mount -t bpf bpf /sys/fs/bpf && exec "$@"';
    this.exec('sh', ['-c', body, 'sh', command, ...args], input);
  }

  /** ip(8) inside: `ns.ip('address', 'add', '10.0.0.1/24', 'dev', 'lo')`. */
  ip(...args: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  interface(name: string): Interface {
    return this.#interface(name, JSON.parse(this.ip('-j', 'link', 'show', 'dev', name)) as IpLink[]);
  }

  /** Brings the namespace's own lo up: 127.0.0.1 and ::1. */
  upLoopback(): Interface {
    this.ip('link', 'set', 'lo', 'up');
    return this.interface('lo');
  }

  /**
   * An address on an interface, in CIDR form. IPv6 on a veth makes the kernel send MLD reports: count IPv6
   * sockets on lo.
   */
  addAddress(iface: string, cidr: string): void {
    this.ip('address', 'add', cidr, 'dev', iface, ...(cidr.includes(':') ? ['nodad'] : []));
  }

  /**
   * A veth pair with both ends in this namespace, without addresses, up unless told otherwise. What is sent
   * on a arrives on b.
   */
  addVeth(options: { up?: boolean; queues?: number } = {}): Veth {
    const [a, b] = [`v${this.#veths}a`, `v${this.#veths}b`];
    this.#veths++;
    const queues =
      options.queues === undefined
        ? []
        : ['numrxqueues', `${options.queues}`, 'numtxqueues', `${options.queues}`];
    const commands = [
      `link add ${[a, ...queues].join(' ')} type veth peer name ${[b, ...queues].join(' ')}`,
      ...(options.up === false ? [] : [`link set ${a} up`, `link set ${b} up`]),
      'link show',
    ];
    let links = this.#batch(commands);
    if (options.up !== false) {
      // The carrier arrives by a work queue up to a second later; until then the no-op queue discipline drops every frame.
      const deadline = performance.now() + 10_000 * SLOWNESS;
      const down = ({ ifname, operstate, qdisc }: IpLink) =>
        (ifname === a || ifname === b) && (operstate !== 'UP' || qdisc === 'noop');
      for (let late = links.find(down); late; late = links.find(down)) {
        if (performance.now() > deadline)
          throw new Error(`${late.ifname} stays ${late.operstate} with ${late.qdisc}`);
        links = this.#batch(['link show']);
      }
    }
    return { a: this.#interface(a, links), b: this.#interface(b, links) };
  }

  close(): void {
    if (!open.delete(this)) return;
    try {
      execFileSync('ip', ['netns', 'delete', this.name], { stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      // `ip netns delete` stops between unmounting and unlinking when it is interrupted: the empty file is
      // ours to remove.
      rmSync(this.path, { force: true });
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** ip(8) commands, the last of which shows links. */
  #batch(commands: readonly string[]): IpLink[] {
    const shown = execFileSync('ip', ['-n', this.name, '-j', '-batch', '-'], {
      encoding: 'utf8',
      input: `${commands.join('\n')}\n`,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    return JSON.parse(shown) as IpLink[];
  }

  #interface(name: string, links: readonly IpLink[]): Interface {
    const link = links.find(({ ifname }) => ifname === name);
    if (!link) throw new Error(`no interface ${name} in ${this.name}`);
    return { name: link.ifname, ifindex: link.ifindex, mac: link.address };
  }
}

export function createNetns(): Netns {
  return new Netns();
}

/** The names of the namespaces that this test file made and did not remove, where ip(8) keeps them. */
export function leftNetns(): string[] {
  return existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => name.startsWith(OURS)) : [];
}
