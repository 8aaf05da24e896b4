import type { NativeInterface, NativeXdpState } from './binding.ts';
import { describeFailure, EbpfAttachError, type Holder, isNativeFailure } from './errors.ts';
import type { XdpMode } from './link.ts';
import { native } from './native.ts';
import { nearest } from './nearest.ts';
import { permissionError } from './privileges.ts';

/** An interface's name or its ifindex. */
export type Iface = string | number;

/** Where: an interface, and the network namespace that it is in. */
export interface NetTarget {
  /** Its name, or its ifindex in `netns`. */
  iface: Iface;
  /** The path (`/run/netns/blue`) or an open descriptor of another network namespace. Default: the process's own. */
  netns?: string | number;
}

/** What XDP there is on an interface. */
export interface XdpQuery {
  /** Undefined where nothing is attached. */
  mode?: XdpMode;
  /** Undefined where nothing is attached. Where several modes have a program, that of `mode`. */
  programId?: number;
  /** What the driver does, in the kernel's words (`NETDEV_XDP_ACT_*`); empty before kernel 6.3. */
  features: readonly string[];
}

// linux/netdev.h, enum netdev_xdp_act, bit by bit.
const FEATURES = ['basic', 'redirect', 'ndo-xmit', 'xsk-zerocopy', 'hw-offload', 'rx-sg', 'ndo-xmit-sg'];

/** The kernel prefers what is nearest to the wire, and so does a report of a single mode. */
const MODES: readonly XdpMode[] = ['hw', 'drv', 'skb'];

/**
 * What XDP program the kernel says is on an interface, and in which mode. Needs no privilege.
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
    const { words, log: _, ...options } = describeFailure(error, 'the interface');
    throw new EbpfAttachError(`query XDP on ifindex ${ifindex}: ${words}`, {
      ...options,
      target: String(ifindex),
    });
  }
}

/** @internal */
export function findInterface({ iface, netns }: NetTarget): NativeInterface {
  if (typeof iface !== 'string' && !(Number.isInteger(iface) && iface > 0)) {
    throw new TypeError(
      `Expected an interface name or a positive ifindex for iface but received ${String(iface)}`,
    );
  }
  const all = listInterfaces(netns);
  const found = all.find((entry) => entry.name === iface || entry.ifindex === iface);
  if (found) return found;
  const names = nearest(
    String(iface),
    all.map((entry) => entry.name),
  );
  const what = typeof iface === 'string' ? `no interface "${iface}"` : `no interface with ifindex ${iface}`;
  throw new EbpfAttachError(`${what}${netns === undefined ? '' : ` in network namespace ${netns}`}`, {
    code: 'ERR_EBPF_NO_INTERFACE',
    target: String(iface),
    hint: names.length > 0 ? `there are ${names.join(', ')}` : undefined,
  });
}

/** @internal */
export function listInterfaces(netns: string | number | undefined): NativeInterface[] {
  try {
    return native().interfaces(netns);
  } catch (error) {
    const { words, log: _, ...options } = describeFailure(error, 'the network namespace');
    const message = `look into network namespace ${netns ?? 'of this process'}: ${words}`;
    if (options.code === 'EPERM') throw permissionError(message, options, ['CAP_SYS_ADMIN']);
    throw new EbpfAttachError(message, { ...options, target: String(netns) });
  }
}

/** Something is to be attached: an interface that is down is an error, unless it is to be set up. @internal */
export function requireUp(
  what: string,
  entry: NativeInterface,
  options: { netns?: string | number; bringUp?: boolean },
): void {
  if (entry.up) return;
  if (options.bringUp === true) {
    bringUp(entry, options.netns);
    return;
  }
  throw new EbpfAttachError(`${what}: the interface is down`, {
    code: 'ERR_EBPF_INTERFACE_DOWN',
    target: entry.name,
    hint: `set it up with ip link set ${entry.name} up (in code: bringUp: true)`,
  });
}

// Sets IFF_UP.
function bringUp(entry: NativeInterface, netns: string | number | undefined): void {
  try {
    native().setInterfaceUp(entry.ifindex, netns);
  } catch (error) {
    const { words, log: _, ...options } = describeFailure(error, 'the interface');
    const message = `bring up ${entry.name}: ${words}`;
    if (options.code === 'EPERM') throw permissionError(message, options, ['CAP_NET_ADMIN']);
    throw new EbpfAttachError(message, { ...options, target: entry.name });
  }
}

/** Who is on the XDP hook now: the program, and where the kernel tells, its link and its name. @internal */
export function xdpHolder(ifindex: number, netns: string | number | undefined): Holder | undefined {
  const state = xdpState(ifindex, netns);
  const mode = MODES.find((name) => state[name] !== 0);
  if (mode === undefined) return undefined;
  const link = askedOf(() => native().links())?.find(
    (entry) => entry.type === 'xdp' && entry.ifindex === ifindex && entry.programId === state[mode],
  );
  return holderOf(state[mode], link?.id);
}

/** A program that is on a hook, with its name where the kernel tells. @internal */
export function holderOf(programId: number, linkId?: number): Holder {
  const holder: Holder = { programId };
  if (linkId !== undefined && linkId !== 0) holder.linkId = linkId;
  const name = askedOf(() => native().programInfo(programId))?.name;
  if (name !== undefined) holder.name = name;
  return holder;
}

/**
 * By-id queries need CAP_SYS_ADMIN, and what they ask about may be gone: then there is no answer, and no error.
 *
 * @internal
 */
export function askedOf<T>(query: () => T): T | undefined {
  try {
    return query();
  } catch (error) {
    if (isNativeFailure(error)) return undefined;
    throw error;
  }
}
