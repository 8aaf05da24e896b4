// What the kernel says, asked through bpftool(8) and ip(8) and not through the library under test.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { leftNetns, type Netns } from './netns.ts';
import { SLOWNESS } from './slowness.ts';
import { until } from './until.ts';

export type Mode = 'drv' | 'skb' | 'hw';

interface Listed {
  id: number;
  name?: string;
  /** Of a link: what it is, its program, and the tracepoint. */
  type?: string;
  prog_id?: number;
  tp_name?: string;
  /** Of a program: the maps that it uses, and what it missed for being at work on the same CPU. */
  map_ids?: number[];
  recursion_misses?: number;
}

type Noun = 'prog' | 'map' | 'link';

/** bpftool(8) with JSON output. */
export function bpftool<T>(...args: string[]): T {
  const output = execFileSync('bpftool', ['-j', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(output) as T;
}

/**
 * What the kernel has, whoever made it. bpftool lists id by id: one that vanishes between two of its calls ends the listing
 * with ENOENT. Ask again then: where others load and unload all the while, that is many times.
 */
export function listed(noun: Noun): Listed[] {
  return untilListed(() => bpftool<Listed[]>(noun, 'show'));
}

/** A line of JSON for each. */
const SHOW_ALL = 'for noun in prog map link; do bpftool -j "$noun" show; done';

/** All three by one child process: a test process has much memory to fork, and this is asked before and after each test. */
function listedAll(): Record<Noun, Listed[]> {
  return untilListed(() => {
    const shown = execFileSync('sh', ['-ec', SHOW_ALL], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const lists = shown.trim().split('\n');
    const [prog, map, link] = lists.map((line) => JSON.parse(line) as Listed[]);
    if (!prog || !map || !link) throw new Error(`Expected three lists of bpftool but received ${shown}`);
    return { prog, map, link };
  });
}

function untilListed<T>(list: () => T): T {
  const deadline = performance.now() + 10_000 * SLOWNESS;
  for (;;) {
    try {
      return list();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

function ids(noun: Noun): Set<number> {
  return new Set(listed(noun).map(({ id }) => id));
}

export const programIds = (): Set<number> => ids('prog');
export const mapIds = (): Set<number> => ids('map');
export const linkIds = (): Set<number> => ids('link');

/** The links of these programs. */
export function linksOf(programs: readonly number[]): number[] {
  return listed('link')
    .filter(({ prog_id }) => programs.includes(prog_id ?? 0))
    .map(({ id }) => id);
}

/** What is pinned at a path. */
export function pinnedId(noun: Noun, path: string): number {
  return bpftool<Listed>(noun, 'show', 'pinned', path).id;
}

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
  'xdp_counter',
  'packet_counters',
  'odd_value',
  'odd_array',
  'odd_percpu_hash',
  'odd_hash',
  'tc_count',
  'tc_frames',
  'tc_ingress',
  'tc_egress',
  'flows',
  'flow_accounts',
  'flow_fills',
  'classes',
  'class_rules',
  'tc_class.rodata',
  'raw_enter',
  'btf_enter',
  'tp_enter',
  'probe',
  'unattached',
  'hits',
  'answering',
  'on_btf',
  'table',
  'twin',
  'configured',
  'options.rodata',
  'options.data',
  'options.bss',
  'sharing',
  'shared',
  'pass',
  'passed',
  'first',
  'second',
  'runs',
  'refused',
  'on_sys_enter',
  'entered',
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
  const { prog, map, link } = listedAll();
  const ids = (rows: Listed[]) => new Set(rows.map(({ id }) => id));
  return {
    programs: ids(prog),
    maps: ids(map),
    links: ids(link),
    names: known,
    fds: fdCount(process.pid, OURS),
  };
}

type Held = Record<Noun, Set<number>>;

/**
 * The programs, maps and links that other processes hold open, by /proc (bpftool can say so only where it was
 * built to), and the maps that those programs use.
 */
export function heldByOthers(): Held {
  const held: Held = { prog: new Set(), map: new Set(), link: new Set() };
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    for (const fd of entriesOf(`/proc/${pid}/fd`)) {
      if (!linkOf(`/proc/${pid}/fd/${fd}`).startsWith('anon_inode:bpf')) continue;
      // A link's descriptor names its link and its program: both are that process's.
      for (const [, noun, id] of textOf(`/proc/${pid}/fdinfo/${fd}`).matchAll(
        /^(prog|map|link)_id:\s*(\d+)$/gm,
      )) {
        held[noun as Noun].add(Number(id));
      }
    }
  }
  for (const { id, map_ids } of listed('prog')) {
    if (held.prog.has(id)) for (const map of map_ids ?? []) held.map.add(map);
  }
  return held;
}

/**
 * Waits until nothing that was made since the snapshot and is ours is left, and throws with what is. Ours: it
 * has one of our names, and it is held by no other process: by this one, or by an attachment or a pin. Only
 * what is there at the first look counts: other runs of these tests on the machine make and free programs of
 * the same names all the while. Theirs too has no holder while one of their processes has ended and the next, which takes
 * its pins over, starts: seconds.
 */
export async function assertNothingLeft(before: Snapshot): Promise<void> {
  let candidates: Record<Noun, ReadonlySet<number>> | undefined;
  let left: string[] = [];
  await until(
    () => {
      const news = { prog: before.programs, map: before.maps, link: before.links };
      const known = (noun: Noun, id: number) => (candidates ? candidates[noun].has(id) : !news[noun].has(id));
      const all = listedAll();
      const found = (noun: Noun) => all[noun].filter(({ id }) => known(noun, id));
      const named = ({ name }: Listed) => before.names.has(name ?? '');
      const programs = found('prog').filter(named);
      const maps = found('map').filter(named);
      const ids = new Set(programs.map(({ id }) => id));
      const links = found('link').filter(({ prog_id }) => ids.has(prog_id ?? 0));
      const total = programs.length + maps.length + links.length;
      const others: Held = total > 0 ? heldByOthers() : { prog: new Set(), map: new Set(), link: new Set() };
      const ours = (noun: Noun, rows: Listed[]) => rows.filter(({ id }) => !others[noun].has(id));
      const remaining = { prog: ours('prog', programs), map: ours('map', maps), link: ours('link', links) };
      candidates = {
        prog: new Set(remaining.prog.map(({ id }) => id)),
        map: new Set(remaining.map.map(({ id }) => id)),
        link: new Set(remaining.link.map(({ id }) => id)),
      };
      left = [
        ...remaining.prog.map(({ id, name }) => `program ${id} ${name}`),
        ...remaining.map.map(({ id, name }) => `map ${id} ${name}`),
        ...remaining.link.map(({ id, prog_id }) => `link ${id} of program ${prog_id}`),
        ...leftNetns().map((name) => `namespace ${name}`),
      ];
      const fds = fdCount(process.pid, OURS) - before.fds;
      if (fds > 0) left.push(`${fds} file descriptors of programs, maps, links or namespaces`);
      return left.length === 0;
    },
    () => `left behind: ${left.join(', ')}`,
    40_000,
  );
}

// What is in /proc may be gone by the time it is read: nothing, then.
function orElse<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
const entriesOf = (folder: string): string[] => orElse(() => readdirSync(folder), []);
const linkOf = (path: string): string => orElse(() => readlinkSync(path), '');
const textOf = (path: string): string => orElse(() => readFileSync(path, 'utf8'), '');

/** How many file descriptors a process has open; with `kind`, those whose link in /proc matches it. */
export function fdCount(pid: number = process.pid, kind = /./): number {
  const folder = `/proc/${pid}/fd`;
  // The descriptor that reads the folder is in the list, and gone when its link is read.
  return readdirSync(folder).filter((fd) => kind.test(linkOf(`${folder}/${fd}`))).length;
}
