import type { NativeLink } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { TcLink } from '../attach/tc.ts';
import { XdpLink } from '../attach/xdp.ts';
import { xdpHolder, xdpState } from '../attach/xdp-query.ts';
import { EbpfError, EbpfPermissionError } from '../core/errors.ts';
import type { XdpMode } from '../core/xdp-mode.ts';
import { tryQuery } from '../handle/holder.ts';
import { openPin } from '../handle/pin.ts';
import { listInterfaces } from '../kernel/interfaces.ts';
import { findNetns } from '../kernel/netns.ts';
import { BpfLink, type LinkInit } from '../link/link.ts';
import { BpfObject } from '../object/object.ts';
import { type Hook, hookName, parseHookName, type Recorded } from './attachment.ts';
import { type Entry, type LostHook, replacedError } from './loaded.ts';
import type { PinFolder } from './pin-folder.ts';

// EbpfLoader.recover(): what is pinned under pinRoot, and what the kernel says is attached of it. Nothing is changed:
// an attachment is taken over by opening what holds it.

/** The program and the maps of a folder. @internal */
export function openFolder(folder: PinFolder): Omit<Entry, 'handle'> {
  const { about, program, maps } = folder.open();
  const object = BpfObject.wrap(
    folder.name,
    { programs: () => [program], maps: () => maps, log: () => [], close: () => {} },
    { globals: [] },
  );
  return {
    program: object.program(about.program),
    object,
    state: 'loaded',
    source: about.source,
    attachments: [],
    folder,
  };
}

/**
 * The attachments in the folder that `entry` has not: those that are there, taken over, and the words for those that are
 * not.
 *
 * @internal
 */
export function recoverHooks(entry: Entry, folder: PinFolder): { found: Recorded[]; lost: LostHook[] } {
  const known = new Set(
    entry.attachments.map(({ hook, ifindex, netnsId }) => hookName(hook, ifindex, netnsId)),
  );
  const found: Recorded[] = [];
  const lost: LostHook[] = [];
  for (const name of folder.hooks().filter((hook) => !known.has(hook))) {
    try {
      const taken = name === 'section' ? takeSection(entry, folder) : takeInterface(entry, folder, name);
      if (typeof taken === 'string') {
        lost.push({
          hook: name,
          words: `${entry.handle} is no longer attached to ${placeWords(name)}: ${taken}`,
        });
      } else {
        found.push({
          ...taken,
          handle: entry.handle,
          tried: [],
          pinnedAs: name,
          attachedAt: folder.hookTime(name),
        });
      }
    } catch (error) {
      // A namespace or an interface that goes away meanwhile. A missing capability would be missing for all.
      if (!(error instanceof EbpfError) || error instanceof EbpfPermissionError) throw error;
      lost.push({ hook: name, words: error.message });
    }
  }
  return { found, lost };
}

/** Whether the kernel has the program on a recorded hook, or may have. @internal */
export function isThere(entry: Entry, folder: PinFolder, hook: string): boolean {
  try {
    const taken = hook === 'section' ? 'only its pin says' : takeInterface(entry, folder, hook);
    if (typeof taken === 'string') return false;
    taken.link.close();
    return true;
  } catch (error) {
    if (!(error instanceof EbpfError)) throw error;
    return true;
  }
}

/**
 * A pinned link of a lost hook may hold another program by now. Without its pin the link would end, and that program
 * with it.
 *
 * @throws EbpfAttachError `ERR_EBPF_REPLACED`
 * @internal
 */
export function refuseReplaced(entry: Entry, lost: readonly LostHook[] = []): void {
  for (const { hook } of lost) {
    withPinned(entry, entry.folder, hook, (link) => {
      if (link.state() === 'replaced') throw replacedError(entry.handle, placeWords(hook), link.holder());
    });
  }
}

/** Removes the pin of a link that somebody detached: it would be in the way of the next. @internal */
export function unpinEnded(entry: Entry, folder: PinFolder, hook: string): void {
  withPinned(entry, folder, hook, (link) => {
    if (link.state() === 'detached') folder.unpinLink(hook);
  });
}

function withPinned(
  entry: Entry,
  folder: PinFolder | undefined,
  hook: string,
  work: (link: BpfLink) => void,
): void {
  if (!folder?.hasLink(hook)) return;
  const link = openLink(entry, folder.linkPath(hook), placeWords(hook), (init) => new BpfLink(init));
  try {
    work(link);
  } finally {
    link.close();
  }
}

/** The words for a hook's name. @internal */
export function placeWords(name: string): string {
  const at = parseHookName(name);
  if (at === undefined || at === 'section') return name;
  const netns = findNetns(at.netnsId)?.netns;
  const iface = tryQuery(() => native().interfaces(netns))?.find(({ ifindex }) => ifindex === at.ifindex);
  return `${iface?.name ?? `ifindex ${at.ifindex}`}${netns === undefined ? '' : ` in ${netns}`} (${at.hook})`;
}

type Taken = Pick<Recorded, 'link' | 'hook' | 'iface' | 'ifindex' | 'netns' | 'netnsId' | 'mode'>;

function takeSection(entry: Entry, folder: PinFolder): Taken | string {
  if (!folder.hasLink('section')) return 'no link is pinned there';
  const link = openLink(
    entry,
    folder.linkPath('section'),
    entry.program.section,
    (init) => new BpfLink(init),
  );
  if (link.state() === 'attached') return { link, hook: link.kind };
  link.close();
  return 'the kernel has another program there, or none';
}

function takeInterface(entry: Entry, folder: PinFolder, name: string): Taken | string {
  const at = parseHookName(name);
  if (at === undefined || at === 'section') return 'this is no name that node-ebpf gives';
  const { hook, ifindex, netnsId } = at;
  const place = findNetns(netnsId);
  if (!place) return 'its network namespace is not to be found';
  const { netns } = place;
  const iface = listInterfaces(netns).find((entry) => entry.ifindex === ifindex)?.name;
  if (iface === undefined) return 'the interface is gone';
  const spot: Spot = { entry, ifindex, netns, iface };
  const pinned = folder.hasLink(name) ? folder.linkPath(name) : undefined;
  const link = hook === 'xdp' ? takeXdp(spot, pinned) : takeTc(spot, hook, pinned);
  if (!link) return 'the kernel has another program there, or none';
  return {
    link,
    hook,
    iface,
    ifindex,
    netnsId,
    ...(netns === undefined ? {} : { netns }),
    ...(link instanceof XdpLink ? { mode: link.mode } : {}),
  };
}

interface Spot {
  entry: Entry;
  ifindex: number;
  netns: string | undefined;
  iface: string;
}

function takeXdp(spot: Spot, pinned: string | undefined): XdpLink | undefined {
  const { entry, ifindex, netns, iface } = spot;
  const state = xdpState(ifindex, netns);
  const mode = (['hw', 'drv', 'skb'] as const).find((slot: XdpMode) => state[slot] === entry.program.id);
  if (mode === undefined) return undefined;
  if (pinned !== undefined) return openLink(entry, pinned, iface, (init) => new XdpLink(init, ifindex, mode));
  // A link that its maker is about to pin is not to be had by netlink.
  if (xdpHolder(ifindex, netns)?.linkId !== undefined) return undefined;
  return adopted(
    entry,
    () => entry.program.native.adoptXdp(ifindex, mode, netns),
    (init) => new XdpLink({ ...init, kind: 'xdp', target: iface }, ifindex, mode),
  );
}

function takeTc(spot: Spot, hook: Hook, pinned: string | undefined): TcLink | undefined {
  const { entry, ifindex, netns, iface } = spot;
  const direction = hook === 'tc-ingress' ? 'ingress' : 'egress';
  const { id } = entry.program;
  if (pinned !== undefined) {
    const there = tryQuery(() => native().tcxPrograms(ifindex, direction, netns)) ?? [];
    if (!there.some(({ programId }) => programId === id)) return undefined;
    return openLink(entry, pinned, iface, (init) => new TcLink(init, ifindex, direction));
  }
  const filter = tryQuery(() => native().tcFilters(ifindex, direction, netns))?.find(
    ({ programId }) => programId === id,
  );
  if (!filter) return undefined;
  const { priority, handle } = filter;
  return adopted(
    entry,
    () => entry.program.native.adoptClsact(ifindex, direction, netns, priority, handle),
    (init) => new TcLink({ ...init, kind: 'clsact', target: iface }, ifindex, direction),
  );
}

function openLink<T extends BpfLink>(
  entry: Entry,
  path: string,
  target: string,
  make: (init: LinkInit) => T,
): T {
  const { handle } = openPin(path, 'link');
  return owned(entry, handle, (init) =>
    make({ ...init, kind: handle.info().type, target, owner: 'fd', pins: [path] }),
  );
}

function adopted<T extends BpfLink>(
  entry: Entry,
  adopt: () => NativeLink,
  make: (init: Pick<LinkInit, 'native' | 'program' | 'onClose' | 'owner' | 'persist'>) => T,
): T | undefined {
  // ENOENT: it went away since we asked.
  const handle = tryQuery(adopt);
  return handle && owned(entry, handle, (init) => make({ ...init, owner: 'netlink', persist: true }));
}

// The link closes with its object.
function owned<T extends BpfLink>(
  { program }: Entry,
  handle: NativeLink,
  make: (init: Pick<LinkInit, 'native' | 'program' | 'onClose'>) => T,
): T {
  try {
    const link = make({ native: handle, program, onClose: (closed) => program.links.delete(closed) });
    program.links.add(link);
    return link;
  } catch (error) {
    handle.close();
    throw error;
  }
}
