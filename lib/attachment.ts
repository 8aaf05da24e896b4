import { type NetTarget, netnsIdentity } from './interface.ts';
import type { BpfLink, XdpMode } from './link.ts';
import type { TcDirection } from './tc.ts';
import type { AttachMode, TriedMode } from './xdp.ts';

/** Where on an interface. */
export type Hook = 'xdp' | 'tc-ingress' | 'tc-egress';

/** One program on one hook. */
export interface Attachment {
  readonly handle: string;
  /** On an interface an `XdpLink` or a `TcLink`. */
  readonly link: BpfLink;
  /** For a program that was attached by its SEC(), the kernel's word for the link: `perf_event`, `tracing`, … */
  readonly hook: Hook | (string & {});
  /** Absent where the hook is on no interface. */
  readonly iface?: string;
  readonly ifindex?: number;
  readonly netns?: string;
  /** XDP: where the negotiation started. */
  readonly requestedMode?: AttachMode | readonly XdpMode[];
  /** XDP: the mode that the kernel reports. */
  readonly mode?: XdpMode;
  /** XDP: the modes before it, and why each was not taken. */
  readonly tried: readonly TriedMode[];
  readonly attachedAt: Date;
}

/** What the loader keeps with it: a path or a descriptor may come to mean another namespace. @internal */
export interface Recorded extends Attachment {
  readonly netnsId?: string;
}

/** Those on an interface, by what was recorded: one that is gone or renamed is still one that we attached to. @internal */
export function recordedAt(
  attachments: readonly Recorded[],
  target: NetTarget & { direction?: TcDirection },
): Recorded[] {
  const netnsId = netnsIdentity(target.netns);
  return attachments.filter(
    (entry) =>
      entry.netnsId === netnsId &&
      (entry.iface === target.iface || entry.ifindex === target.iface) &&
      (target.direction === undefined || entry.hook === `tc-${target.direction}`),
  );
}
