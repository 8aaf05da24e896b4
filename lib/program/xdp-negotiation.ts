import type { XdpLink, XdpOptions } from '../attach/xdp.ts';
import { EbpfAttachError } from '../core/errors.ts';
import type { TriedMode, XdpMode } from '../core/xdp-mode.ts';
import type { NetTarget } from '../kernel/interfaces.ts';
import type { BpfProgram } from './program.ts';

/**
 * The first XDP mode to try. `AttachMode.HW` tries hw, drv, skb; `DRV` tries drv, skb; `SKB` tries only skb.
 */
export const AttachMode = {
  /** Generic XDP, in the network stack: every interface supports it. */
  SKB: 'skb',
  /** In the driver, if it supports XDP. */
  DRV: 'drv',
  /** On the network card, for a program that was loaded for it (ProgramLoadOptions.device). */
  HW: 'hw',
} as const;
export type AttachMode = (typeof AttachMode)[keyof typeof AttachMode];

/** Options for attaching an XDP program if several modes may be tried. */
export interface NegotiatedXdpOptions extends Omit<XdpOptions, 'mode'> {
  /** The first mode to try, or exactly these modes in this order. */
  mode?: AttachMode | readonly XdpMode[];
  /** Try only the given mode. */
  strict?: boolean;
}

const ORDER: readonly XdpMode[] = ['hw', 'drv', 'skb'];

// The errors of a driver or kernel that does not support a mode. Any other error (EBUSY, EPERM, ENODEV,
// ENOMEM) would be the same in the next mode, or worse: the next mode could succeed beside another program in
// this mode.
const NOT_THIS_MODE = new Set(['EOPNOTSUPP', 'ENOTSUPP', 'EINVAL', 'ERANGE', 'ENOSYS', 'E2BIG', 'EMSGSIZE']);

/** Attaches in the first mode that works, and returns the modes that failed. @internal */
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
