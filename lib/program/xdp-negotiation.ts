import type { XdpLink, XdpOptions } from '../attach/xdp.ts';
import { EbpfAttachError } from '../core/errors.ts';
import type { TriedMode, XdpMode } from '../core/xdp-mode.ts';
import type { NetTarget } from '../kernel/interfaces.ts';
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
  const [first, ...others] = modesToTry(mode, strict);
  const tried: TriedMode[] = [];
  for (let current = first; ; ) {
    try {
      return { link: program.attachXdp({ ...rest, mode: current }), tried };
    } catch (error) {
      if (!(error instanceof EbpfAttachError)) throw error;
      tried.push({ mode: current, code: error.code });
      const next = others.shift();
      if (next === undefined || !NOT_THIS_MODE.has(error.code)) throw withTried(error, tried);
      current = next;
    }
  }
}

function modesToTry(mode: AttachMode | readonly XdpMode[], strict: boolean): [XdpMode, ...XdpMode[]] {
  const named = typeof mode === 'string' ? [mode] : mode;
  const [first, ...others] = named;
  const unknown = named.find((name) => !ORDER.includes(name));
  if (first === undefined || unknown !== undefined) {
    throw new TypeError(`Expected hw, drv or skb for mode but received ${String(unknown ?? mode)}`);
  }
  if (typeof mode !== 'string') return [first, ...others];
  return strict ? [first] : [first, ...ORDER.slice(ORDER.indexOf(first) + 1)];
}

function withTried(error: EbpfAttachError, tried: readonly TriedMode[]): EbpfAttachError {
  if (tried.length === 1) return error;
  const { code, errno, syscall, hint, target, holder } = error;
  const list = tried.map((entry) => `${entry.mode}: ${entry.code}`).join(', ');
  return new EbpfAttachError(`${error.message} (tried ${list})`, {
    code,
    errno,
    syscall,
    hint,
    target,
    holder,
    tried,
    cause: error,
  });
}
