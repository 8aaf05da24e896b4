/** eBPF for Node.js: load CO-RE objects, attach them, read their maps. */
export type { Attachment, Hook } from './attachment.ts';
export { tryCreateLoader } from './availability.ts';
export type { Bytes, Key } from './bytes.ts';
export type { CgroupOptions } from './cgroup.ts';
export { dropPrivileges } from './credentials.ts';
export type { VerifierVerdict } from './dry-run.ts';
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
export type { Finding } from './finding.ts';
export type { GlobalValue } from './globals.ts';
export type { ComponentHealth, HealthReport, HealthStatus } from './health.ts';
export { type GlobalSpec, inspect, type ObjectInfo, type ProgramSpec } from './inspect.ts';
export type { Iface, NetTarget } from './interface.ts';
export { BpfIterator, type IteratorOptions } from './iterator.ts';
export type { KprobeMultiOptions, KprobeOptions } from './kprobe.ts';
export { BpfLink, type LinkListing, type LinkOwner } from './link.ts';
export type { LoadOptions, MapLoadOptions, ProgramLoadOptions } from './load-options.ts';
export type { LoadedProgram } from './loaded.ts';
export { EbpfLoader, type LoaderEvents, type LoaderOptions, type PinOption } from './loader.ts';
export { type LogListener, onLog } from './log.ts';
export { BpfMap, possibleCpus } from './map.ts';
export { type BatchOptions, BatchReader } from './map-batch.ts';
export { MapReader, type ReaderOptions, type ReadPath } from './map-reader.ts';
export { MapSampler, type SamplerOptions } from './map-sampler.ts';
export { MapSlot, type SlotOptions } from './map-slot.ts';
export { MapFlags, type MapInfo, type MapSpec, type MapType } from './map-spec.ts';
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
export type { ProgramRef } from './program-ref.ts';
export { ProgramType } from './program-type.ts';
export { enableStats } from './run-stats.ts';
export type { SockmapOptions } from './sockmap.ts';
export type { Source } from './source.ts';
export type { AttachErrors, LoaderStats } from './stats.ts';
export { type TcAnchor, type TcDirection, TcLink, type TcOptions, type TcOrder } from './tc.ts';
export type { UprobeOptions, UsdtOptions } from './uprobe.ts';
export { type ValidateOptions, type ValidationReport, validate } from './validate.ts';
export type { ValidationLimits } from './validation-limits.ts';
export { XdpLink, type XdpOptions } from './xdp.ts';
export type { TriedMode, XdpMode } from './xdp-mode.ts';
export { AttachMode, type NegotiatedXdpOptions } from './xdp-negotiation.ts';
export { type XdpQuery, xdpQuery } from './xdp-query.ts';
