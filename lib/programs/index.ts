/** The programs that ship with node-ebpf, each as a typed class. */
export { type Protocol, type Tally, XdpCounter } from './xdp-counter.ts';
