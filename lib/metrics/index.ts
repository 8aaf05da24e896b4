/** Prometheus metrics and health of what eBPF sees. */
export type { BundledProgram } from './bundled-source.ts';
export { EbpfMetrics, type EbpfMetricsOptions } from './ebpf-metrics.ts';
export { type Handler, healthHandler, type MetricsHandlerOptions, metricsHandler } from './handlers.ts';
export type { Label, LabelKind } from './label.ts';
export type { MapDeclaration, MapMetric } from './map-source.ts';
export { observe } from './otel.ts';
