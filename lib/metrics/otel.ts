import type { Meter } from '@opentelemetry/api';
import type { EbpfMetrics } from './ebpf-metrics.ts';
import type { FamilyInfo, Part, Sample } from './family.ts';

/**
 * The metrics as OpenTelemetry's: an observable counter or gauge for each, of the same name and labels, that is asked when the
 * SDK collects. Of a histogram the buckets, the sum and the count are counters (`….bucket` with the attribute `le`, `….sum`,
 * `….count`): OpenTelemetry has no histogram that is observed.
 *
 * @param meter of `@opentelemetry/api`, which the application brings
 * @returns disposing of it ends that
 * @example
 * import { metrics as otel } from '@opentelemetry/api';
 *
 * const observing = observe(otel.getMeter('node-ebpf'), metrics);
 */
export function observe(meter: Meter, metrics: EbpfMetrics): Disposable {
  const ends: (() => void)[] = [];
  const counter = (family: FamilyInfo, name: string, part?: Part) => {
    const options = { description: family.help };
    const instrument =
      family.type === 'gauge'
        ? meter.createObservableGauge(name, options)
        : meter.createObservableCounter(name, options);
    const callback = (result: { observe(value: number, attributes: Record<string, string>): void }) => {
      for (const sample of partOf(metrics.samplesOf(family.name), part)) {
        result.observe(sample.value, { ...sample.labels });
      }
    };
    instrument.addCallback(callback);
    ends.push(() => instrument.removeCallback(callback));
  };
  const stop = metrics.onFamily((family) => {
    if (family.type !== 'histogram') return counter(family, family.name);
    for (const part of ['_bucket', '_sum', '_count'] as const) {
      counter(family, `${family.name}.${part.slice(1)}`, part);
    }
  });
  return {
    [Symbol.dispose]() {
      stop();
      for (const end of ends.splice(0)) end();
    },
  };
}

function* partOf(samples: Iterable<Sample>, part: Part | undefined): Iterable<Sample> {
  for (const sample of samples) if (sample.part === part) yield sample;
}
