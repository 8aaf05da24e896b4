import { type Metric, Registry } from 'prom-client';
import { EbpfError, EbpfStateError } from '../core/errors.ts';
import { type ComponentHealth, component, HEALTH_VALUE, type HealthReport } from '../loader/health.ts';
import type { EbpfLoader } from '../loader/loader.ts';
import type { BpfMap } from '../map/map.ts';
import { type BundledProgram, BundledSource } from './bundled-source.ts';
import { FAMILIES } from './families.ts';
import { Family, type FamilyInfo, type Sample } from './family.ts';
import { LoaderSource } from './loader-source.ts';
import { type MapDeclaration, MapSource } from './map-source.ts';
import { PollDuration } from './poll-duration.ts';
import { type Series, Sheet } from './sheet.ts';
import type { Source } from './source.ts';
import { Totals } from './totals.ts';

/** Whose metrics, and where they go. */
export interface EbpfMetricsOptions {
  /** Its programs, attachments, errors and health. */
  loader?: EbpfLoader | undefined;
  /** Why there is no loader, as tryCreateLoader() says: health() is unhealthy, and tells. */
  reason?: EbpfError | undefined;
  /** Where the metrics go: prom-client's `register`, to have them beside an application's own. Default: a registry of its own. */
  registry?: Registry;
  /** How many flows of a TcClassifier have series: those of the most bytes. Default 20. */
  flows?: number;
}

/**
 * eBPF as Prometheus metrics: what a loader has, what bundled programs count, and any map by declaration. Every scrape asks
 * the kernel, each map once; nothing runs between scrapes. Counters never go back: a program that is removed leaves what it
 * counted, and the next one counts on.
 *
 * @example
 * const metrics = new EbpfMetrics();
 * metrics.add(await XdpCounter.attach({ iface: 'eth0' }));
 * http.createServer(metricsHandler(metrics)).listen(9435);
 */
export class EbpfMetrics implements Disposable {
  /** Holds the metrics. */
  readonly registry: Registry;
  readonly #loader: EbpfLoader | undefined;
  readonly #reason: EbpfError | undefined;
  readonly #flows: number;
  readonly #sources = new Map<object, Source>();
  readonly #totals = new Totals();
  readonly #own = new Sheet();
  readonly #families = new Map<string, FamilyInfo>();
  readonly #listeners = new Set<(family: FamilyInfo) => void>();
  readonly #duration = new PollDuration();
  #current: Series | undefined;

  constructor(options: EbpfMetricsOptions = {}) {
    const { loader, reason, registry = new Registry(), flows = 20 } = options;
    if (!Number.isInteger(flows) || flows < 0) {
      throw new RangeError(`Expected a whole number for flows but received ${String(flows)}`);
    }
    this.registry = registry;
    this.#loader = loader;
    this.#reason = reason;
    this.#flows = flows;
    if (loader) this.#sources.set(loader, new LoaderSource(loader));
    try {
      for (const family of Object.values(FAMILIES)) this.#register(family);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What a scrape's answer is: `text/plain; version=0.0.4; charset=utf-8`. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /**
   * The counters of a bundled program, until remove(). Closing the program takes it out too, at the next scrape, without
   * what it counted since the last one.
   *
   * @throws TypeError for anything else
   */
  add(program: BundledProgram): void {
    const source = new BundledSource(program, this.#flows);
    if (!this.#sources.has(program)) this.#sources.set(program, source);
  }

  /**
   * Any map, as its declaration says. Metrics of one name from several maps are added up.
   *
   * @throws TypeError, RangeError for a declaration that cannot be; EbpfMapError `ERR_EBPF_NO_FIELD`; nothing is added then
   * @example
   * metrics.addMap(object.map('requests'), {
   *   metrics: [{ name: 'http_requests_total', help: 'Requests by status', type: 'counter', field: 'count' }],
   *   labels: { status: { at: 0, as: 'u32' } },
   * });
   */
  addMap(map: BpfMap, declaration: MapDeclaration): void {
    if (this.#sources.has(map))
      throw new TypeError(`Expected a map that is not added yet but received ${map.name}`);
    const source = new MapSource(map, declaration);
    try {
      for (const family of source.families) this.#register(family);
    } catch (error) {
      source.close();
      throw error;
    }
    this.#sources.set(map, source);
  }

  /** Another source of metrics and health, until close(). @internal */
  addSource(source: Source): void {
    this.#sources.set(source, source);
  }

  /** Takes out a program or a map that was added, after one last look at it. Its counters stay as they are then. */
  remove(what: BundledProgram | BpfMap): boolean {
    const source = this.#sources.get(what);
    if (!source) return false;
    this.#look(what, source, new Map());
    this.#release(what, source);
    return true;
  }

  /** The text of a scrape, in Prometheus' format. */
  scrape(): Promise<string> {
    return this.registry.metrics();
  }

  /** The health of the loader, its attachments and maps, and of each program that was added: asked of the kernel. */
  health(): HealthReport {
    return this.#health(new Map());
  }

  /** Takes its metrics out of the registry. What was added stays attached. Idempotent. */
  close(): void {
    for (const name of this.#families.keys()) this.registry.removeSingleMetric(name);
    this.#families.clear();
    for (const source of this.#sources.values()) source.close?.();
    this.#sources.clear();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #register(family: FamilyInfo): void {
    const known = this.#families.get(family.name);
    if (known) {
      if (known.type === family.type && known.labels.join() === family.labels.join()) return;
      throw new TypeError(
        `Expected ${family.name} to be a ${known.type} with the labels ${known.labels.join(', ') || '(none)'}, as it is already`,
      );
    }
    const metric = new Family(family, () => this.samplesOf(family.name));
    this.registry.registerMetric(metric as unknown as Metric); // it asks for no more than a name and get()
    this.#families.set(family.name, family);
    for (const listener of this.#listeners) listener(family);
  }

  /** Calls `listener` for each family, there already or to come, until what it returns is called. @internal */
  onFamily(listener: (family: FamilyInfo) => void): () => void {
    for (const family of this.#families.values()) listener(family);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The samples of a family; those who ask in one turn of the microtask queue share one look. @internal */
  samplesOf(name: string): Iterable<Sample> {
    if (!this.#current) {
      this.#current = this.#lookAtAll();
      queueMicrotask(() => {
        this.#current = undefined;
      });
    }
    const family = this.#families.get(name);
    return (family && this.#current.get(family)?.values()) ?? [];
  }

  #lookAtAll(): Series {
    const start = performance.now();
    const counted = new Map<number, number>();
    for (const [what, source] of [...this.#sources]) this.#look(what, source, counted);
    const sheet = new Sheet();
    const health = this.#health(counted);
    for (const { component: name, status, details } of [health, ...health.components]) {
      sheet.add(FAMILIES.health, { component: name }, HEALTH_VALUE[status]);
      const { entries, maxEntries, id } = details;
      if (typeof entries !== 'number' || typeof maxEntries !== 'number' || counted.has(Number(id))) continue;
      const [, program = '', map = ''] = /^map:(.*):([^:]*)$/.exec(name) ?? [];
      sheet.add(FAMILIES.mapEntries, { program, map }, entries);
      sheet.add(FAMILIES.mapMaxEntries, { program, map }, maxEntries);
    }
    this.#totals.take(this, sheet);
    this.#duration.observe((performance.now() - start) / 1000);
    this.#duration.addTo(this.#own);
    const sums = this.#totals.sums();
    for (const [family, samples] of this.#own.series) sums.set(family, samples);
    return this.#byRegistered(sums);
  }

  // Declarations of several maps may name one family: the one that is registered speaks for it.
  #byRegistered(sums: Series): Series {
    const series: Series = new Map();
    for (const [family, samples] of sums) {
      const known = this.#families.get(family.name) ?? family;
      const all = series.get(known);
      if (!all) series.set(known, samples);
      else
        for (const [key, sample] of samples) {
          const same = all.get(key);
          if (same) same.value += sample.value;
          else all.set(key, sample);
        }
    }
    return series;
  }

  #look(what: object, source: Source, counted: Map<number, number>): void {
    const sheet = new Sheet();
    try {
      source.look(sheet, counted);
    } catch (error) {
      if (!(error instanceof EbpfError)) throw error;
      if (error instanceof EbpfStateError) this.#release(what, source);
      else this.#own.add(FAMILIES.readErrors, { source: source.name, error_type: error.code }, 1);
      return;
    }
    this.#totals.take(what, sheet);
    for (const [metric, series] of sheet.leftOut) this.#own.add(FAMILIES.seriesLeftOut, { metric }, series);
  }

  #release(what: object, source: Source): void {
    this.#totals.release(what);
    this.#sources.delete(what);
    source.close?.();
  }

  #health(counted: ReadonlyMap<number, number>): HealthReport {
    const programs = [...this.#sources.values()].flatMap((source) => source.health?.() ?? []);
    const reason = this.#reason;
    const loader = this.#loader?.healthGiven(counted);
    if (loader) return withPrograms(loader, programs);
    const report = component('ebpf_loader', () => {
      if (!reason) return { status: 'healthy', message: summary(programs.length), details: {} };
      const { code, hint } = reason;
      const message = `eBPF is off: ${reason.message}${hint ? ` (${hint})` : ''}`;
      return { status: 'unhealthy', message, details: { code, hint } };
    });
    return withPrograms({ ...report, components: [] }, programs);
  }
}

function summary(programs: number): string {
  return programs === 0 ? 'there is no loader' : `attached: ${programs} of ${programs} programs`;
}

/** The loader's report, made worse by what is wrong with programs beside it: by all of them, or by some. */
function withPrograms(report: HealthReport, programs: readonly ComponentHealth[]): HealthReport {
  const components = [...report.components, ...programs];
  const [first, ...others] = programs.filter(({ status }) => status !== 'healthy');
  if (report.status !== 'healthy' || !first) return { ...report, components };
  const nothingElse =
    report.components.length === 0 && programs.every(({ status }) => status === 'unhealthy');
  const more = others.length > 0 ? `, and ${others.length} more` : '';
  return {
    ...report,
    status: nothingElse ? 'unhealthy' : 'degraded',
    message: `${first.message}${more}`,
    components,
  };
}
