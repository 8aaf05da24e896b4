/** The programs that ship with node-ebpf, each as a typed class. */
export {
  type InterfaceTally,
  type TcpActivity,
  TracepointNet,
  type TracepointNetOptions,
} from './tracepoint-net.ts';
export { type Protocol, type Tally, XdpCounter } from './xdp-counter.ts';
