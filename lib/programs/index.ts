/** The programs that ship with node-ebpf, each as a typed class. */
export type { ClassRule } from './class-rules.ts';
export type { Flow } from './flow.ts';
export { type FlowAccount, TcClassifier, type TcClassifierOptions } from './tc-classifier.ts';
export { type Protocol, type Tally, XdpCounter } from './xdp-counter.ts';
