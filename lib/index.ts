/** eBPF for Node.js: load CO-RE objects, attach them, read their maps. */
export type { Attachment, Hook } from './attachment.ts';
export { tryCreateLoader } from './availability.ts';
export type { CgroupOptions } from './cgroup.ts';
export { dropPrivileges } from './credentials.ts';
export {
  EbpfAttachError,
  EbpfError,
  type EbpfErrorOptions,
  EbpfLoadError,
  EbpfMapError,
  EbpfNotSupportedError,
  EbpfPermissionError,
  EbpfStateError,
  EbpfValidationError,
  type Holder,
} from './errors.ts';
export type { GlobalValue } from './globals.ts';
export type { ComponentHealth, HealthReport, HealthStatus } from './health.ts';
export { type GlobalSpec, inspect, type ObjectInfo, type ProgramSpec } from './inspect.ts';
export { type Iface, type NetTarget, type XdpQuery, xdpQuery } from './interface.ts';
export { BpfIterator, type IteratorOptions } from './iterator.ts';
export type { KprobeMultiOptions, KprobeOptions } from './kprobe.ts';
export { BpfLink, type LinkListing, type LinkOwner, XdpLink, type XdpMode, type XdpOptions } from './link.ts';
export type { LoadOptions, MapLoadOptions, ProgramLoadOptions } from './load-options.ts';
export type { LoadedProgram } from './loaded.ts';
export { EbpfLoader, type LoaderEvents, type LoaderOptions, type PinOption } from './loader.ts';
export { type LogListener, onLog } from './log.ts';
export {
  BpfMap,
  type Bytes,
  type Key,
  type MapInfo,
  type MapSpec,
  type MapType,
  possibleCpus,
} from './map.ts';
export { type BatchOptions, BatchReader } from './map-batch.ts';
export { MapFlags } from './map-create.ts';
export { MapReader, type ReaderOptions, type ReadPath } from './map-reader.ts';
export { MapSampler, type SamplerOptions } from './map-sampler.ts';
export { MapSlot, type SlotOptions } from './map-slot.ts';
export type { NetfilterOptions } from './netfilter.ts';
export { BpfObject, loadObject, loadObjectSync, type Schema } from './object.ts';
export type { PerfEventOptions } from './perf-event.ts';
export { type KernelSupport, probe, type Tri } from './probe.ts';
export {
  BpfProgram,
  type ProgramListing,
  type ProgramStats,
  type RunOptions,
  type RunResult,
} from './program.ts';
export { ProgramType } from './program-type.ts';
export type { SockmapOptions } from './sockmap.ts';
export type { Source } from './source.ts';
export { type AttachErrors, enableStats, type LoaderStats } from './stats.ts';
export { type TcAnchor, type TcDirection, TcLink, type TcOptions, type TcOrder } from './tc.ts';
export type { UprobeOptions, UsdtOptions } from './uprobe.ts';
export {
  type Finding,
  type ValidateOptions,
  type ValidationLimits,
  type ValidationReport,
  type VerifierVerdict,
  validate,
} from './validate.ts';
export { AttachMode, type NegotiatedXdpOptions, type TriedMode } from './xdp.ts';
