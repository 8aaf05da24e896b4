import type { NativeInterface, NativeLink } from '../addon/binding.ts';
import { describeFailure, EbpfAttachError, type EbpfError, withKernelWords } from '../core/errors.ts';
import type { XdpMode } from '../core/xdp-mode.ts';
import { permissionError } from '../kernel/capabilities.ts';
import { findInterface, type NetTarget, requireUp } from '../kernel/interfaces.ts';
import { BpfLink, type LinkInit, requirePersistable } from '../link/link.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { xdpHolder, xdpState } from './xdp-query.ts';

/** Options of attachXdp(). */
export interface XdpOptions {
  /** The XDP mode, without a fallback. Default `drv`. */
  mode?: XdpMode;
  /**
   * `link` (default) detaches when the process ends, even by SIGKILL; `netlink` only when it exits normally.
   */
  via?: 'link' | 'netlink';
  /** Replace exactly this program, by netlink. */
  replace?: {
    /** The program's id, as in the `holder` of EBUSY. */
    programId: number;
  };
  /** Bring the interface up first. Default false: an interface that is down is an error. */
  bringUp?: boolean;
  /**
   * With `netlink` or `replace`: keep it attached when the process ends. Pin the program to find it again.
   */
  persist?: boolean;
}

/** An XDP program on an interface. */
export class XdpLink extends BpfLink {
  /** The interface's index, in the network namespace in which the program was attached. */
  readonly ifindex: number;
  /** The requested mode, in which the kernel has confirmed the program. */
  readonly mode: XdpMode;

  /** @internal */
  constructor(init: LinkInit, ifindex: number, mode: XdpMode) {
    super(init);
    this.ifindex = ifindex;
    this.mode = mode;
  }
}

/** Attaches in one mode, with one attempt. @internal */
export function attachXdp(
  program: ProgramRef,
  options: NetTarget & XdpOptions,
  onClose: (link: BpfLink) => void,
): XdpLink {
  const entry = findInterface(options);
  const { mode = 'drv', netns, replace, persist = false } = options;
  requireUp(`attach ${program.name} to ${entry.name}`, entry, options);
  const owner = options.via === 'netlink' || replace ? 'netlink' : 'fd';
  const what = `attach ${program.name} to ${entry.name} (${mode})`;
  requirePersistable(persist, owner);
  let nativeLink: NativeLink;
  try {
    nativeLink =
      owner === 'netlink'
        ? program.native.attachXdpNetlink(entry.ifindex, mode, netns, replace?.programId)
        : program.native.attachXdp(entry.ifindex, mode, netns);
  } catch (error) {
    throw xdpFailure(what, program, entry, netns, error);
  }
  const init = { native: nativeLink, program, kind: 'xdp', target: entry.name, owner, persist } as const;
  const link = new XdpLink({ ...init, onClose }, entry.ifindex, mode);
  // The attachment counts only if the kernel reports our program's id in this mode.
  let found: number;
  try {
    found = xdpState(entry.ifindex, netns)[mode];
  } catch (error) {
    link.close();
    throw error;
  }
  if (found === program.id) return link;
  link.close();
  throw new EbpfAttachError(
    `${what}: the kernel reports program ${found || 'none'} there, not ${program.id}`,
    {
      code: 'ERR_EBPF_NOT_ATTACHED',
      target: entry.name,
    },
  );
}

function xdpFailure(
  what: string,
  program: ProgramRef,
  entry: NativeInterface,
  netns: string | number | undefined,
  error: unknown,
): EbpfError {
  const { words, log, options } = describeFailure(error, `program ${program.name}`);
  const reason = withKernelWords(words, log);
  switch (options.code) {
    case 'EPERM':
      return permissionError(`${what}: ${reason}`, options, ['CAP_NET_ADMIN']);
    case 'EBUSY':
    case 'EEXIST': {
      const holder = xdpHolder(entry.ifindex, netns);
      if (!holder) break;
      const name = holder.name === undefined ? '' : ` "${holder.name}"`;
      const remedy =
        holder.linkId === undefined
          ? `detach it, or replace it (in code: replace: { programId: ${holder.programId} })`
          : `link ${holder.linkId} holds it: only the owner of the link can change or detach it`;
      return new EbpfAttachError(`${what}: ${reason}: held by program ${holder.programId}${name}`, {
        ...options,
        target: entry.name,
        holder,
        hint: remedy,
      });
    }
  }
  return new EbpfAttachError(`${what}: ${reason}`, { ...options, target: entry.name });
}
