// What the kernel says, asked through bpftool(8) and ip(8) and not through the library under test.
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { leftNetns, type Netns } from './netns.ts';
import { until } from './until.ts';

export type Mode = 'drv' | 'skb' | 'hw';

interface Listed {
  id: number;
  name?: string;
  prog_id?: number;
  map_ids?: number[];
  run_cnt?: number;
  pids?: { pid: number; comm: string }[];
}

type Noun = 'prog' | 'map' | 'link';

function bpftool<T>(...args: string[]): T {
  const output = execFileSync('bpftool', ['-j', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(output) as T;
}

/**
 * bpftool lists id by id: one that vanishes between two of its calls ends the listing with ENOENT. Ask again
 * then.
 */
function list(noun: Noun): Listed[] {
  for (let attempt = 0; ; attempt++) {
    try {
      return bpftool<Listed[]>(noun, 'show');
    } catch (error) {
      if (attempt === 20) throw error;
    }
  }
}

function ids(noun: Noun): Set<number> {
  return new Set(list(noun).map(({ id }) => id));
}

export const programIds = (): Set<number> => ids('prog');
export const mapIds = (): Set<number> => ids('map');
export const linkIds = (): Set<number> => ids('link');

export function programExists(id: number): boolean {
  return programIds().has(id);
}

/**
 * Waits until the kernel knows none of these ids: RCU frees programs and maps some time after the last
 * reference is gone.
 */
export async function untilGone(gone: {
  programs?: Iterable<number>;
  maps?: Iterable<number>;
  links?: Iterable<number>;
}): Promise<void> {
  const wanted: [Noun, number[]][] = [
    ['prog', [...(gone.programs ?? [])]],
    ['map', [...(gone.maps ?? [])]],
    ['link', [...(gone.links ?? [])]],
  ];
  let left: string[] = [];
  await until(
    () => {
      left = wanted.flatMap(([noun, numbers]) => {
        if (numbers.length === 0) return [];
        const present = ids(noun);
        return numbers.filter((id) => present.has(id)).map((id) => `${noun} ${id}`);
      });
      return left.length === 0;
    },
    () => `still in the kernel: ${left.join(', ')}`,
  );
}

const XDP_MODES: Readonly<Record<number, Mode>> = { 1: 'drv', 2: 'skb', 3: 'hw' };

interface IpXdp {
  xdp?: { mode: number; prog?: { id: number }; attached?: { mode: number; prog: { id: number } }[] };
}

/**
 * The XDP program that an interface runs and in which mode, as `ip -d link show` has it: its fields, not its
 * text.
 */
export function xdpOf(netns: Netns, iface: string): { mode?: Mode; programId?: number } {
  const [link] = JSON.parse(netns.ip('-j', '-d', 'link', 'show', 'dev', iface)) as IpXdp[];
  const at = link?.xdp?.prog ? { mode: link.xdp.mode, prog: link.xdp.prog } : link?.xdp?.attached?.[0];
  if (!at) return {};
  const mode = XDP_MODES[at.mode];
  if (!mode)
    throw new Error(`${iface} holds XDP programs in more than one mode: ${JSON.stringify(link?.xdp)}`);
  return { mode, programId: at.prog.id };
}

/** The names that our objects give to programs and maps, as the kernel keeps them (15 characters). */
const OUR_NAMES: ReadonlySet<string> = new Set([
  ...['xdp_counter', 'packet_counters'],
  ...['odd_value', 'odd_array', 'odd_percpu_hash', 'odd_hash'],
  ...['pass', 'passed', 'first', 'second', 'runs', 'refused', 'on_sys_enter', 'entered'],
]);

/** Nothing in Node itself opens these, so their number is the library's own. */
const OURS = /^(anon_inode:\[?bpf|net:\[)/;

export interface Snapshot {
  readonly programs: ReadonlySet<number>;
  readonly maps: ReadonlySet<number>;
  readonly links: ReadonlySet<number>;
  readonly names: ReadonlySet<string>;
  /** Descriptors of programs, maps and links that this process has open, and of namespaces. */
  readonly fds: number;
}

/**
 * What is in the kernel before a test; `names` are those of further programs and maps that the test makes.
 */
export function snapshotIds(names: Iterable<string> = []): Snapshot {
  const known = new Set([...OUR_NAMES, ...[...names].map((name) => name.slice(0, 15))]);
  return {
    programs: programIds(),
    maps: mapIds(),
    links: linkIds(),
    names: known,
    fds: fdCount(process.pid, OURS),
  };
}

/**
 * Waits until nothing that was made since the snapshot and is ours is left, and throws with what is. Ours: it
 * has one of our names, and it is held by this process or by no process at all (an attachment or a pin).
 * Other programs, and other runs of these tests, come and go.
 */
export async function assertNothingLeft(before: Snapshot): Promise<void> {
  let left: string[] = [];
  await until(
    () => {
      const ours = ({ pids = [] }: Listed) =>
        pids.length === 0 || pids.some(({ pid }) => pid === process.pid);
      const named = (noun: Noun, old: ReadonlySet<number>) =>
        list(noun).filter((it) => !old.has(it.id) && before.names.has(it.name ?? '') && ours(it));
      const programs = named('prog', before.programs);
      const held = new Set(programs.map(({ id }) => id));
      const links = list('link').filter(
        (it) => !before.links.has(it.id) && held.has(it.prog_id ?? 0) && ours(it),
      );
      left = [
        ...programs.map(({ id, name }) => `program ${id} ${name}`),
        ...named('map', before.maps).map(({ id, name }) => `map ${id} ${name}`),
        ...links.map(({ id, prog_id }) => `link ${id} of program ${prog_id}`),
        ...leftNetns().map((name) => `namespace ${name}`),
      ];
      const fds = fdCount(process.pid, OURS) - before.fds;
      if (fds > 0) left.push(`${fds} file descriptors of programs, maps, links or namespaces`);
      return left.length === 0;
    },
    () => `left behind: ${left.join(', ')}`,
  );
}

/** How many file descriptors a process has open; with `kind`, those whose link in /proc matches it. */
export function fdCount(pid: number = process.pid, kind = /(?:)/): number {
  const folder = `/proc/${pid}/fd`;
  let count = 0;
  for (const fd of readdirSync(folder)) {
    try {
      if (kind.test(readlinkSync(`${folder}/${fd}`))) count++;
    } catch {
      // Closed meanwhile, as the one that read the folder.
    }
  }
  return count;
}
