// What a row of docs/lifecycle.md is tried in: a namespace of its own with a veth pair, programs of ours and of others.
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { EbpfLoader } from '../../lib/loader/loader.ts';
import { type BpfObject, loadObjectSync } from '../../lib/object/object.ts';
import type { BpfProgram } from '../../lib/program/program.ts';
import { Bpffs } from './bpffs.ts';
import { type Child, endChildren, runModule } from './child.ts';
import { type Frame, udp4 } from './frames.ts';
import { linksOf, type Mode, untilGone, xdpOf } from './kernel.ts';
import { createNetns, type Netns, type Veth } from './netns.ts';
import { shippedObject, testObject } from './objects.ts';
import { sendFrames } from './send.ts';
import {
  addForeignFilters,
  countedBy,
  type Direction,
  type Filter,
  filtersOf,
  qdiscOf,
  tcxOf,
} from './tc.ts';
import { until } from './until.ts';

const BUILT_HERE = new URL('../../build/Release/node_ebpf.node', import.meta.url);

export class World {
  readonly netns: Netns = createNetns();
  readonly veth: Veth;
  readonly warnings: string[] = [];
  /** Where each thread of this process is, before anything is done. */
  readonly #home = readlinkSync('/proc/thread-self/ns/net');
  readonly #closing: (() => unknown)[] = [];
  #loader: EbpfLoader | undefined;
  #bpffs: Bpffs | undefined;

  constructor() {
    this.hold(this.netns);
    this.veth = this.netns.addVeth();
  }

  /** The end of the pair that programs go on. What is sent on the other one arrives here. */
  get iface(): string {
    return this.veth.b.name;
  }

  get at(): { iface: string; netns: string } {
    return { iface: this.iface, netns: this.netns.path };
  }

  get ingress(): { iface: string; netns: string; direction: 'ingress' } {
    return { ...this.at, direction: 'ingress' };
  }

  get loader(): EbpfLoader {
    this.#loader ??= this.makeLoader();
    return this.#loader;
  }

  makeLoader(options: ConstructorParameters<typeof EbpfLoader>[0] = {}): EbpfLoader {
    const loader = this.hold(new EbpfLoader(options));
    loader.on('warning', (message) => this.warnings.push(message));
    return loader;
  }

  get bpffs(): Bpffs {
    this.#bpffs ??= this.hold(new Bpffs());
    return this.#bpffs;
  }

  /** An empty folder. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-'));
    this.#closing.push(() => rmSync(folder, { recursive: true, force: true }));
    return folder;
  }

  /** Closes it at the end. */
  hold<T extends { close(): unknown }>(resource: T): T {
    this.#closing.push(() => resource.close());
    return resource;
  }

  /** An object of its own at every call, with its own maps. */
  object(name: string): BpfObject {
    return this.hold(loadObjectSync(name === 'xdp_counter' ? shippedObject(name) : testObject(name)));
  }

  program(name: string): BpfProgram {
    return this.object(name).program(name);
  }

  /** A process with the library, which gets `at`, and writes what `body` logs. */
  child(body: string, options?: Parameters<typeof runModule>[1]): Child {
    const child = runModule(`const at = ${JSON.stringify(this.at)}; ${body}`, options);
    this.#closing.push(() => {
      endChildren();
      return child.ended();
    });
    return child;
  }

  /** A process that does `work`, says the JSON of `answer`, waits for a line, and ends as it is told, or is killed. */
  async holding<T>(
    work: string,
    answer: string,
    ending = 'process.stdin.destroy();',
    options?: Parameters<typeof runModule>[1],
  ): Promise<{ child: Child; answer: T; end(how?: 'kill -9'): Promise<number | string> }> {
    const child = this.child(
      `${work}
      console.log(JSON.stringify(${answer}));
      await new Promise((resolve) => process.stdin.once('data', resolve));
      ${ending}`,
      options,
    );
    return {
      child,
      answer: JSON.parse(await child.line()) as T,
      async end(how) {
        if (how === 'kill -9') child.process.kill('SIGKILL');
        else child.process.stdin?.write('\n');
        return (await child.ended()).status;
      },
    };
  }

  /** For child(): an addon that is ours but for what `members` says, in terms of `addon`. */
  addonWith(members: string): string[] {
    const path = join(this.folder(), 'addon.cjs');
    const real = process.env.NODE_EBPF_BINARY ?? fileURLToPath(BUILT_HERE);
    writeFileSync(
      path,
      `const addon = require(${JSON.stringify(real)}); module.exports = { ...addon, ${members} };`,
    );
    return ['env', `NODE_EBPF_BINARY=${path}`];
  }

  /** For child(): in the namespace, where `at.iface` is. */
  get inside(): string[] {
    return ['ip', 'netns', 'exec', this.netns.name];
  }

  /** What `body` calls of bpf(2), as strace(1) sees it, and what it says. */
  async bpfCalls(
    body: string,
    { prefix = [], inject = [] }: { prefix?: readonly string[]; inject?: readonly string[] } = {},
  ): Promise<{ calls: string[]; stdout: string }> {
    const trace = join(this.folder(), 'trace');
    const strace = ['strace', '-f', '-qq', '-e', 'trace=bpf', ...inject, '-o', trace];
    // LeakSanitizer needs the ptrace that strace has.
    const child = this.child(body, { prefix: [...prefix, 'env', 'ASAN_OPTIONS=detect_leaks=0', ...strace] });
    const { stdout, stderr, status } = await child.ended();
    if (status !== 0) throw new Error(stderr);
    const lines = readFileSync(trace, 'utf8').split('\n');
    return { calls: lines.filter((line) => line.includes('bpf(')), stdout };
  }

  /**
   * What `body` says where the kernel answers its first call of a bpf(2) command on the JS thread with an error:
   * strace(1) counts the calls, and then injects it. What else `body` does has to be the same both times; other threads
   * make fewer calls.
   */
  async failing(command: string, error: string, body: string): Promise<{ calls: string[]; stdout: string }> {
    const { calls } = await this.bpfCalls(body, { prefix: this.inside });
    const [thread] = calls[0]?.split(' ') ?? [];
    const own = calls.filter((line) => line.startsWith(`${thread} `));
    const nth = own.findIndex((line) => line.includes(`bpf(${command}`)) + 1;
    if (nth === 0) throw new Error(`no ${command} in ${own.join('\n')}`);
    const inject = ['-e', `inject=bpf:error=${error}:when=${nth}`];
    return this.bpfCalls(body, { prefix: this.inside, inject });
  }

  /** What ip(8) says is on the interface. */
  xdp(iface = this.iface): { mode?: Mode; programId?: number } {
    return xdpOf(this.netns, iface);
  }

  tcx(direction: Direction = 'ingress'): { programId: number; linkId: number }[] {
    return tcxOf(this.netns, this.veth.b, direction);
  }

  filters(direction: Direction = 'ingress'): Filter[] {
    return filtersOf(this.netns, this.iface, direction);
  }

  /** The programs on TC's ingress, whichever way they got there. */
  tcIds(direction: Direction = 'ingress'): (number | undefined)[] {
    return [...this.tcx(direction), ...this.filters(direction)].map(({ programId }) => programId);
  }

  qdisc(): string | undefined {
    return qdiscOf(this.netns, this.iface);
  }

  isUp(iface = this.iface): boolean {
    return /<[^>]*\bUP\b/.test(this.netns.ip('link', 'show', 'dev', iface));
  }

  /** Packets that arrive on the interface. */
  async send(count: number, frame: Frame = udp4()): Promise<number> {
    const options = { netns: this.netns, iface: this.veth.a.name, receiver: this.iface };
    return (await sendFrames([{ frame, count }], options)).sent;
  }

  /** Somebody else's XDP program, attached by ip(8) over netlink. */
  foreignXdp(): { mode?: Mode; programId?: number } {
    const args = ['link', 'set', 'dev', this.iface, 'xdp', 'obj', testObject('pass'), 'sec', 'xdp'];
    this.netns.execLoader('ip', args);
    return this.xdp();
  }

  /** Somebody else's XDP program, held by a link of another process. */
  async foreignXdpLink(): Promise<{ child: Child; programId: number; linkId: number }> {
    const { child, answer } = await this.holding<{ programId: number; linkId: number }>(
      `const program = ebpf.loadObjectSync(${JSON.stringify(testObject('pass'))}).program('pass');
       globalThis.link = program.attachXdp(at);`,
      '{ programId: program.id, linkId: link.id }',
    );
    return { child, ...answer };
  }

  /**
   * Twenty TC filters and an XDP program of others. What comes back asserts that they are where and what they were, and
   * see every packet, and that a program of ours is beside them or not.
   */
  foreignHooks(): (ours: number, state: 'attached' | 'gone') => Promise<void> {
    addForeignFilters(this.netns, this.iface, 'ingress');
    const xdp = this.foreignXdp();
    const theirs = this.filters();
    expect(theirs).toHaveLength(20);
    const counting = theirs.flatMap(({ programId }) => programId ?? []);
    expect(counting).toHaveLength(10);
    let sent = 0;
    return async (ours, state) => {
      sent += await this.send(100);
      expect(this.filters().filter(({ programId }) => programId !== ours)).toEqual(theirs);
      expect(this.xdp()).toEqual(xdp);
      expect([xdp.programId ?? 0, ...counting].map(countedBy)).toEqual(Array(11).fill(sent));
      expect(this.tcIds().filter((id) => id === ours)).toHaveLength(state === 'attached' ? 1 : 0);
    };
  }

  /** No program or link is left of these: what the kernel keeps once nothing of ours holds it is a leak. */
  async gone(...programs: (number | undefined)[]): Promise<void> {
    const ids = programs.filter((id) => id !== undefined);
    await untilGone({ programs: ids, links: linksOf(ids) });
  }

  /** Every thread of this process is in the namespace that it started in; helper threads that entered another have ended. */
  async atHome(): Promise<void> {
    let astray: string[] = [];
    await until(
      () => {
        astray = ['thread-self', ...readdirSync('/proc/self/task').map((id) => `self/task/${id}`)].filter(
          (thread) => {
            try {
              return readlinkSync(`/proc/${thread}/ns/net`) !== this.#home;
            } catch {
              return false; // it ended meanwhile
            }
          },
        );
        return astray.length === 0;
      },
      () => `in another network namespace than at the start: ${astray.join(', ')}`,
    );
  }

  /** Everything goes, last come first; what fails does not keep the rest. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (let end = this.#closing.pop(); end !== undefined; end = this.#closing.pop()) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '));
    await this.atHome();
  }
}
