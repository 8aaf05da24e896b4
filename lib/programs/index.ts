/** The programs that ship with node-ebpf, each as a typed class. */

export type { ClassRule } from './class-rules.ts';
export type { Flow } from './flow.ts';
export { Log2Histogram, type Percentile } from './log2-histogram.ts';
export {
  type LostCalls,
  type SyscallFlavour,
  SyscallLatency,
  type SyscallLatencyOptions,
} from './syscall-latency.ts';
export type { SyscallName } from './syscall-numbers.ts';
export { type FlowAccount, TcClassifier, type TcClassifierOptions } from './tc-classifier.ts';
export {
  type InterfaceTally,
  type TcpActivity,
  TracepointNet,
  type TracepointNetOptions,
} from './tracepoint-net.ts';
export { type Protocol, type Tally, XdpCounter } from './xdp-counter.ts';
export { type GuardRule, type RateLimit, XdpGuard } from './xdp-guard.ts';
