import type { NativeInterface } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfAttachError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { permissionError } from './capabilities.ts';

/** An interface's name or its ifindex. */
export type Iface = string | number;

/** An interface and its network namespace. */
export interface NetTarget {
  /** The interface's name, or its ifindex in `netns`. */
  iface: Iface;
  /** Path (`/run/netns/blue`) or open descriptor of the network namespace. Default: the process's own. */
  netns?: string | number;
}

/** @internal */
export type { NativeInterface };

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
    const { words, options } = describeFailure(error, 'the network namespace');
    const where = netns === undefined ? "this process's network namespace" : `network namespace ${netns}`;
    const message = `list the interfaces of ${where}: ${words}`;
    if (options.code === 'EPERM') throw permissionError(message, options, ['CAP_SYS_ADMIN']);
    throw new EbpfAttachError(message, { ...options, target: String(netns) });
  }
}

/** Throws if the interface is down, or brings it up if `bringUp` is set. @internal */
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
    hint: `bring it up with ip link set ${entry.name} up (in code: bringUp: true)`,
  });
}

// Sets IFF_UP.
function bringUp(entry: NativeInterface, netns: string | number | undefined): void {
  try {
    native().setInterfaceUp(entry.ifindex, netns);
  } catch (error) {
    const { words, options } = describeFailure(error, 'the interface');
    const message = `bring up ${entry.name}: ${words}`;
    if (options.code === 'EPERM') throw permissionError(message, options, ['CAP_NET_ADMIN']);
    throw new EbpfAttachError(message, { ...options, target: entry.name });
  }
}
