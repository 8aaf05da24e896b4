/** eBPF for Node.js: load CO-RE objects, attach them, read their maps. */

export { type LogListener, onLog } from './addon/log.ts';
export type { CgroupOptions } from './attach/cgroup.ts';
export { BpfIterator, type IteratorOptions } from './attach/iterator.ts';
export type { KprobeMultiOptions, KprobeOptions } from './attach/kprobe.ts';
export type { NetfilterOptions } from './attach/netfilter.ts';
export type { PerfEventOptions } from './attach/perf-event.ts';
export type { SockmapOptions } from './attach/sockmap.ts';
export { type TcAnchor, type TcDirection, TcLink, type TcOptions, type TcOrder } from './attach/tc.ts';
export type { UprobeOptions, UsdtOptions } from './attach/uprobe.ts';
export { XdpLink, type XdpOptions } from './attach/xdp.ts';
export { type XdpQuery, xdpQuery } from './attach/xdp-query.ts';
export type { Bytes, Key } from './core/bytes.ts';
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
} from './core/errors.ts';
export type { Finding } from './core/finding.ts';
export { MapFlags, type MapInfo, type MapSpec, type MapType } from './core/map-spec.ts';
export type { TriedMode, XdpMode } from './core/xdp-mode.ts';
export { dropPrivileges } from './kernel/drop-privileges.ts';
export { type KernelSupport, probe, type Tri } from './kernel/features.ts';
export type { Iface, NetTarget } from './kernel/interfaces.ts';
export { enableStats } from './kernel/run-stats.ts';
export { BpfLink, type LinkListing, type LinkOwner } from './link/link.ts';
export type { ProgramRef } from './link/program-ref.ts';
export type { Attachment, Hook } from './loader/attachment.ts';
export type { ComponentHealth, HealthReport, HealthStatus } from './loader/health.ts';
export type { LoadedProgram } from './loader/loaded.ts';
export { EbpfLoader, type LoaderEvents, type LoaderOptions, type PinOption } from './loader/loader.ts';
export type { AttachErrors, LoaderStats } from './loader/stats.ts';
export { tryCreateLoader } from './loader/try-create.ts';
export { type BatchOptions, BatchReader } from './map/batch.ts';
export { BpfMap, possibleCpus } from './map/map.ts';
export { MapReader, type ReaderOptions, type ReadPath } from './map/reader.ts';
export { MapSampler, type SamplerOptions } from './map/sampler.ts';
export { MapSlot, type SlotOptions } from './map/slot.ts';
export type { LoadOptions, MapLoadOptions, ProgramLoadOptions } from './object/load-options.ts';
export { BpfObject, loadObject, loadObjectSync, type Schema } from './object/object.ts';
export type { VerifierVerdict } from './object-file/dry-run.ts';
export type { GlobalValue } from './object-file/globals.ts';
export { type GlobalSpec, inspect, type ObjectInfo, type ProgramSpec } from './object-file/inspect.ts';
export type { ValidationLimits } from './object-file/limits.ts';
export { ProgramType } from './object-file/program-type.ts';
export type { Source } from './object-file/source.ts';
export { type ValidateOptions, type ValidationReport, validate } from './object-file/validate.ts';
export {
  BpfProgram,
  type ProgramListing,
  type ProgramStats,
  type RunOptions,
  type RunResult,
} from './program/program.ts';
export { AttachMode, type NegotiatedXdpOptions } from './program/xdp-negotiation.ts';
