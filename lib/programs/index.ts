/** The programs that ship with node-ebpf, each as a typed class. */

export { Log2Histogram, type Percentile } from './log2-histogram.ts';
export {
  type LostCalls,
  type SyscallFlavour,
  SyscallLatency,
  type SyscallLatencyOptions,
  type SyscallName,
} from './syscall-latency.ts';
export { type Protocol, type Tally, XdpCounter } from './xdp-counter.ts';
