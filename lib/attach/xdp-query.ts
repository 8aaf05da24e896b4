import type { NativeXdpState } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfAttachError, type Holder } from '../core/errors.ts';
import type { XdpMode } from '../core/xdp-mode.ts';
import { holderOf, tryQuery } from '../handle/holder.ts';
import { findInterface, type NetTarget } from '../kernel/interfaces.ts';

/** The XDP state of an interface. */
export interface XdpQuery {
  /** The mode of the attached program. Absent if none is attached. */
  mode?: XdpMode;
  /**
   * The id of the attached program. Absent if none is attached. If several modes have one, the program of
   * `mode`.
   */
  programId?: number;
  /** The driver's features, by the kernel's names (`NETDEV_XDP_ACT_*`); empty before kernel 6.3. */
  features: readonly string[];
}

// linux/netdev.h, enum netdev_xdp_act, bit by bit.
const FEATURES = ['basic', 'redirect', 'ndo-xmit', 'xsk-zerocopy', 'hw-offload', 'rx-sg', 'ndo-xmit-sg'];

/** From the nearest to the wire, which the kernel prefers, as does a report of a single mode. */
const MODES: readonly XdpMode[] = ['hw', 'drv', 'skb'];

/**
 * Queries the XDP program on an interface and its mode. Needs no privilege.
 *
 * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`
 * @example
 * const { mode, programId } = xdpQuery({ iface: 'eth0' });
 */
export function xdpQuery(target: NetTarget): XdpQuery {
  const { ifindex } = findInterface(target);
  const state = xdpState(ifindex, target.netns);
  const mode = MODES.find((name) => state[name] !== 0);
  const features = FEATURES.filter((_, bit) => Math.floor(state.features / 2 ** bit) % 2 === 1);
  return mode === undefined ? { features } : { mode, programId: state[mode], features };
}

/** @internal */
export function xdpState(ifindex: number, netns: string | number | undefined): NativeXdpState {
  try {
    return native().xdpQuery(ifindex, netns);
  } catch (error) {
    const { words, options } = describeFailure(error, 'the interface');
    throw new EbpfAttachError(`query XDP on ifindex ${ifindex}: ${words}`, {
      ...options,
      target: String(ifindex),
    });
  }
}

/** The program on the XDP hook now; its link and name only if the kernel reports them. @internal */
export function xdpHolder(ifindex: number, netns: string | number | undefined): Holder | undefined {
  const state = xdpState(ifindex, netns);
  const mode = MODES.find((name) => state[name] !== 0);
  if (mode === undefined) return undefined;
  const link = tryQuery(() => native().links())?.find(
    (entry) => entry.type === 'xdp' && entry.ifindex === ifindex && entry.programId === state[mode],
  );
  return holderOf(state[mode], link?.id);
}
