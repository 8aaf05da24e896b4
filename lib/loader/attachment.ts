import type { TcDirection } from '../attach/tc.ts';
import type { TriedMode, XdpMode } from '../core/xdp-mode.ts';
import { listInterfaces, type NetTarget } from '../kernel/interfaces.ts';
import { netnsIdentity } from '../kernel/netns.ts';
import type { BpfLink } from '../link/link.ts';
import type { AttachMode } from '../program/xdp-negotiation.ts';

/** Where on an interface. */
export type Hook = 'xdp' | 'tc-ingress' | 'tc-egress';

/** One program on one hook. */
export interface Attachment {
  /** The program's name in the loader, as loadProgram() gave it. */
  readonly handle: string;
  /** On an interface an `XdpLink` or a `TcLink`. */
  readonly link: BpfLink;
  /** For a program that was attached by its SEC(), the kernel's word for the link: `perf_event`, `tracing`, … */
  readonly hook: Hook | (string & {});
  /** Absent where the hook is on no interface. */
  readonly iface?: string;
  /** Absent where `iface` is. It stays the interface's own when that is renamed. */
  readonly ifindex?: number;
  /**
   * The namespace as attach was given it, in words; of a recovered attachment, a path to it. Absent for the process's
   * own.
   */
  readonly netns?: string;
  /** XDP: where the negotiation started. */
  readonly requestedMode?: AttachMode | readonly XdpMode[];
  /** XDP: the mode that the kernel reports. */
  readonly mode?: XdpMode;
  /** XDP: the modes before it, and why each was not taken. */
  readonly tried: readonly TriedMode[];
  /** When this loader attached it; of a recovered attachment, when it was pinned. */
  readonly attachedAt: Date;
}

/** What the loader keeps with it: a path or a descriptor may come to mean another namespace. @internal */
export interface Recorded extends Attachment {
  readonly netnsId?: string;
  /** Its name under the program's PinFolder. */
  pinnedAs?: string;
}

/** A hook's name under a PinFolder: `xdp_3_4-4026531840`, or `section` for what a SEC() says. @internal */
export function hookName(hook: string, ifindex?: number, netnsId?: string): string {
  return ifindex === undefined ? 'section' : `${hook}_${ifindex}_${netnsId?.replace(':', '-')}`;
}

/** What hookName() made; undefined for anything else. @internal */
export function parseHookName(
  name: string,
): { hook: Hook; ifindex: number; netnsId: string } | 'section' | undefined {
  if (name === 'section') return name;
  const [, hook, ifindex, dev, inode] = /^(xdp|tc-ingress|tc-egress)_(\d+)_(\d+)-(\d+)$/.exec(name) ?? [];
  if (hook === undefined) return undefined;
  return { hook: hook as Hook, ifindex: Number(ifindex), netnsId: `${dev}:${inode}` };
}

/** Whether a hook's name is of this interface; without one, of a SEC(). @internal */
export function isHookAt(name: string, target?: NetTarget & { direction?: TcDirection }): boolean {
  const at = parseHookName(name);
  if (at === undefined || at === 'section' || target === undefined)
    return at === 'section' && target === undefined;
  const { iface, netns, direction } = target;
  if (at.netnsId !== netnsIdentity(netns)) return false;
  if (direction !== undefined && at.hook !== `tc-${direction}`) return false;
  return (
    at.ifindex === iface ||
    listInterfaces(netns).some(({ name, ifindex }) => name === iface && ifindex === at.ifindex)
  );
}

/**
 * Those on an interface. A name is the interface that bears it now, whatever it was called when we attached; one that
 * nobody bears any more is of one that is gone.
 *
 * @internal
 */
export function recordedAt(
  attachments: readonly Recorded[],
  target: NetTarget & { direction?: TcDirection },
): Recorded[] {
  if (attachments.length === 0) return [];
  const netnsId = netnsIdentity(target.netns);
  const { iface, direction } = target;
  const now =
    typeof iface === 'number'
      ? iface
      : listInterfaces(target.netns).find(({ name }) => name === iface)?.ifindex;
  return attachments.filter(
    (entry) =>
      entry.netnsId === netnsId &&
      (now === undefined ? entry.iface === iface : entry.ifindex === now) &&
      (direction === undefined || entry.hook === `tc-${direction}`),
  );
}
