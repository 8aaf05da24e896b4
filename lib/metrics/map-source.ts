import type { BpfMap } from '../map/map.ts';
import type { MapReader } from '../map/reader.ts';
import { FAMILIES } from './families.ts';
import type { FamilyInfo, Labels } from './family.ts';
import { InterfaceNames, type Label, labelReader } from './label.ts';
import type { Sheet } from './sheet.ts';
import type { Source } from './source.ts';

/** One metric of a map: a number of each value. */
export interface MapMetric {
  /** As Prometheus names metrics: `http_requests_total`. */
  name: string;
  /** What it counts, for its `# HELP` line. Not empty. */
  help: string;
  /** `counter` where it only grows. */
  type: 'counter' | 'gauge';
  /** The number in the value: a member by its BTF name, or a 64-bit one by its offset. Default: the first. */
  field?: number | string;
  /** What the number is multiplied by: 1e-9 makes nanoseconds the seconds that Prometheus wants. */
  scale?: number;
}

/** How a map becomes metrics. */
export interface MapDeclaration {
  /** At least one. */
  metrics: readonly MapMetric[];
  /** The labels of all of them, from the map's keys. */
  labels?: Readonly<Record<string, Label>>;
  /** How many series each metric has at most: the first rows that the map gives. Others are counted in ebpf_series_left_out_total. Default 1,000. */
  maxSeries?: number;
  /** The network namespace of `ifindex` labels. */
  netns?: string | number;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** A map as a source of metrics, as somebody declared it. @internal */
export class MapSource implements Source {
  readonly name: string;
  readonly families: readonly FamilyInfo[];
  readonly #map: BpfMap;
  readonly #reader: MapReader;
  readonly #scales: readonly number[];
  readonly #labels: readonly (readonly [string, (key: Uint8Array) => string])[];
  readonly #maxSeries: number;
  readonly #interfaces: InterfaceNames;

  constructor(map: BpfMap, { metrics, labels = {}, maxSeries = 1000, netns }: MapDeclaration) {
    if (!Array.isArray(metrics) || metrics.length === 0)
      throw new TypeError('Expected at least one metric of the map');
    if (!Number.isInteger(maxSeries) || maxSeries < 1) {
      throw new RangeError(`Expected a positive integer for maxSeries but received ${String(maxSeries)}`);
    }
    this.#interfaces = new InterfaceNames(netns);
    this.#labels = Object.entries(labels).map(
      ([name, label]) => [name, labelReader(name, label, map.keySize, this.#interfaces)] as const,
    );
    this.families = metrics.map(({ name, help, type }: MapMetric) => {
      if (!NAME.test(name))
        throw new TypeError(`Expected a name of a Prometheus metric but received ${JSON.stringify(name)}`);
      if (typeof help !== 'string' || help === '') throw new TypeError(`Expected words for help of ${name}`);
      if (type !== 'counter' && type !== 'gauge') {
        throw new TypeError(`Expected counter or gauge for type of ${name} but received ${String(type)}`);
      }
      return {
        name,
        help,
        type,
        labels: Object.keys(labels),
        ...(type === 'gauge' ? { transient: true } : {}),
      };
    });
    this.#scales = metrics.map(({ scale = 1 }: MapMetric) => {
      if (!Number.isFinite(scale))
        throw new RangeError(`Expected a number for scale but received ${String(scale)}`);
      return scale;
    });
    this.#map = map;
    this.#maxSeries = maxSeries;
    this.name = map.name;
    this.#reader = map.reader({ fields: metrics.map(({ field = 0 }: MapMetric) => field) });
  }

  look(sheet: Sheet, counted: Map<number, number>): void {
    const rows = this.#reader.read();
    this.#interfaces.forget();
    const { keys, values, fields } = this.#reader;
    const { keySize, id, name, maxEntries } = this.#map;
    counted.set(id, rows);
    sheet.add(FAMILIES.mapEntries, { program: '', map: name }, rows);
    sheet.add(FAMILIES.mapMaxEntries, { program: '', map: name }, maxEntries);
    const shown = Math.min(rows, this.#maxSeries);
    for (let row = 0; row < shown; row++) {
      const key = keys.subarray(row * keySize, (row + 1) * keySize);
      const labels: Labels = Object.fromEntries(this.#labels.map(([label, read]) => [label, read(key)]));
      for (const [i, family] of this.families.entries()) {
        sheet.add(family, labels, (values[row * fields + i] ?? 0) * (this.#scales[i] ?? 1));
      }
    }
    for (const family of this.families) sheet.leaveOut(family, rows - shown);
  }

  close(): void {
    this.#reader.close();
  }
}
