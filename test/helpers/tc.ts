// What the kernel says about TC, asked through tc(8) and bpf(2) and not through the library under test, and what others
// attach there.
import { fileURLToPath } from 'node:url';
import { FEATURES, kernelIsAtLeast } from './features.ts';
import { bpftool } from './kernel.ts';
import type { Netns } from './netns.ts';
import { testObject } from './objects.ts';
import { PYTHON } from './send.ts';

export type Direction = 'ingress' | 'egress';

export interface Filter {
  readonly kind: string;
  readonly priority: number;
  /** As tc(8) writes it: hexadecimal for BPF, three parts for u32. */
  readonly handle: string;
  readonly programId?: number;
}

interface TcFilter {
  kind: string;
  pref: number;
  options?: { handle?: string; fh?: string; ht_divisor?: number; prog?: { id: number } };
}

/** The filters of a clsact hook, in the order in which they run. */
export function filtersOf(netns: Netns, iface: string, direction: Direction): Filter[] {
  const output = netns.exec('tc', ['-j', 'filter', 'show', 'dev', iface, direction]);
  return (JSON.parse(output) as TcFilter[]).flatMap(({ kind, pref, options }) => {
    const handle = options?.handle ?? options?.fh;
    // The head of a priority, or a hash table of u32: no filters.
    if (handle === undefined || options?.ht_divisor !== undefined) return [];
    const programId = options?.prog?.id;
    return { kind, priority: pref, handle, ...(programId === undefined ? {} : { programId }) };
  });
}

/** The qdisc in clsact's place, if there is one. */
export function qdiscOf(netns: Netns, iface: string): string | undefined {
  const output = netns.exec('tc', ['-j', 'qdisc', 'show', 'dev', iface]);
  return (JSON.parse(output) as { kind: string; handle: string }[]).find(({ handle }) => handle === 'ffff:')
    ?.kind;
}

const TCX_QUERY = fileURLToPath(new URL('./tcx_query.py', import.meta.url));

/** The TCX programs of a hook, in the order in which they run; a kernel without TCX has none. */
export function tcxOf(
  netns: Netns,
  { ifindex }: { ifindex: number },
  direction: Direction,
): { programId: number; linkId: number }[] {
  if (!kernelIsAtLeast(FEATURES.tcx)) return [];
  const output = netns.exec(PYTHON, ['-S', '-E', TCX_QUERY, String(ifindex), direction]);
  return (JSON.parse(output) as [number, number][]).map(([programId, linkId]) => ({ programId, linkId }));
}

/** Row 0 of the only map of a program, which is one u64: what that program has counted. */
export function countedBy(programId: number): number {
  const { map_ids } = bpftool<{ map_ids: number[] }>('prog', 'show', 'id', String(programId));
  const [row] = bpftool<{ value: string[] }[]>('map', 'dump', 'id', String(map_ids[0]));
  const bytes = Buffer.from((row?.value ?? []).map((byte) => Number(byte)));
  return Number(bytes.readBigUInt64LE());
}

/**
 * Twenty filters of somebody else's, made by tc(8) on an own or an existing clsact qdisc: five programs that count before
 * the priorities that the kernel gives out, five after them, and ten u32 filters between that match nothing.
 */
export function addForeignFilters(netns: Netns, iface: string, direction: Direction): void {
  if (qdiscOf(netns, iface) === undefined) netns.exec('tc', ['qdisc', 'add', 'dev', iface, 'clsact']);
  const lines: string[] = [];
  const add = (priority: number, rest: string) =>
    lines.push(`filter add dev ${iface} ${direction} prio ${priority} protocol all ${rest}`);
  for (let i = 0; i < 5; i++) {
    add(1 + i, `handle ${7 + i} bpf da obj ${testObject('tc_count')} sec tc`);
    add(60_000 + i, `bpf da obj ${testObject('tc_count')} sec tc`);
  }
  for (let i = 0; i < 10; i++) add(1000 + i, 'u32 match u32 0x6e6f7468 0xffffffff at 0');
  netns.execLoader('tc', ['-batch', '-'], `${lines.join('\n')}\n`);
}

/** Puts another program in the place of a BPF filter, as somebody else would. */
export function replaceFilter(
  netns: Netns,
  iface: string,
  direction: Direction,
  { priority, handle }: { priority?: number; handle?: number },
): void {
  const place = `prio ${priority} handle ${handle} protocol all bpf da obj ${testObject('tc_count')} sec tc`;
  netns.execLoader('tc', ['filter', 'replace', 'dev', iface, direction, ...place.split(' ')]);
}
