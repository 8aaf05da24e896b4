import type { NativeInterface, NativeLink } from './binding.ts';
import { describeFailure, EbpfAttachError, type EbpfError, withKernelWords } from './errors.ts';
import { findInterface, type NetTarget, requireUp, xdpHolder, xdpState } from './interface.ts';
import { type BpfLink, requirePersistable, XdpLink, type XdpMode, type XdpOptions } from './link.ts';
import { permissionError } from './privileges.ts';
import type { BpfProgram } from './program.ts';

/** Where a negotiation starts. `AttachMode.HW` tries hw, drv, skb; `DRV` drv, skb; `SKB` skb alone. */
export const AttachMode = {
  /** Generic XDP, in the stack: every interface has it. */
  SKB: 'skb',
  /** In the driver, where it can. */
  DRV: 'drv',
  /** On the card, of a program that was loaded for it (ProgramLoadOptions.device). */
  HW: 'hw',
} as const;
export type AttachMode = (typeof AttachMode)[keyof typeof AttachMode];

/** A mode that was not taken, and the code that the kernel gave for it. */
export interface TriedMode {
  /** One of those that were asked for. */
  mode: XdpMode;
  /** As EbpfError.code: EOPNOTSUPP where the driver has no XDP, for one. */
  code: string;
}

/** How an XDP program is attached where more than one mode may be tried. */
export interface NegotiatedXdpOptions extends Omit<XdpOptions, 'mode'> {
  /** Where to start, or exactly these modes in this order. */
  mode?: AttachMode | readonly XdpMode[];
  /** Only the mode that is named. */
  strict?: boolean;
}

const ORDER: readonly XdpMode[] = ['hw', 'drv', 'skb'];

// What a driver or a kernel says to a mode that it does not have. Anything else (EBUSY, EPERM, ENODEV, ENOMEM) would
// be the same in the next mode, or worse: it would attach where somebody else's program is in another mode.
const NOT_THIS_MODE = new Set(['EOPNOTSUPP', 'ENOTSUPP', 'EINVAL', 'ERANGE', 'ENOSYS', 'E2BIG', 'EMSGSIZE']);

/** Attaches in the first mode that the interface can do, and tells which were tried. @internal */
export function negotiateXdp(
  program: BpfProgram,
  options: NetTarget & NegotiatedXdpOptions,
  start: AttachMode,
): { link: XdpLink; tried: TriedMode[] } {
  const { mode = start, strict = false, ...rest } = options;
  const modes = typeof mode === 'string' ? (strict ? [mode] : ORDER.slice(ORDER.indexOf(mode))) : mode;
  const unknown = modes.find((name) => !ORDER.includes(name));
  if (modes.length === 0 || (typeof mode === 'string' && !ORDER.includes(mode)) || unknown !== undefined) {
    throw new TypeError(`Expected hw, drv or skb for mode but received ${String(unknown ?? mode)}`);
  }
  const tried: TriedMode[] = [];
  for (const name of modes) {
    try {
      return { link: program.attachXdp({ ...rest, mode: name }), tried };
    } catch (error) {
      if (!(error instanceof EbpfAttachError)) throw error;
      tried.push({ mode: name, code: error.code });
      if (!NOT_THIS_MODE.has(error.code) || name === modes.at(-1)) throw withTried(error, tried);
    }
  }
  throw new TypeError('Expected at least one mode'); // unreachable: the last mode returns or throws
}

function withTried(error: EbpfAttachError, tried: readonly TriedMode[]): EbpfAttachError {
  if (tried.length === 1) return error;
  const { code, errno, syscall, hint, target, holder } = error;
  const list = tried.map((entry) => `${entry.mode}: ${entry.code}`).join(', ');
  return new EbpfAttachError(`${error.message} (tried ${list})`, {
    ...{ code, errno, syscall, hint, target, holder, tried },
    cause: error,
  });
}

/** One attempt, in one mode. @internal */
export function attachXdp(
  program: BpfProgram,
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
  // Only the kernel's word counts: our id, in the slot of this mode.
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
  program: BpfProgram,
  entry: NativeInterface,
  netns: string | number | undefined,
  error: unknown,
): EbpfError {
  const { words, log, ...options } = describeFailure(error, `program ${program.name}`);
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
          ? `detach it, or name it to take its place (in code: replace: { programId: ${holder.programId} })`
          : `link ${holder.linkId} holds it: only its owner can change or detach it`;
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
