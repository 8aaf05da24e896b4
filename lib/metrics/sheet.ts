import type { FamilyInfo, Labels, Part, Sample } from './family.ts';

/** Of each family its series, by the values of their labels. */
export type Series = Map<FamilyInfo, Map<string, Sample>>;

const SEPARATOR = '\u0000';

/** Adds to the series of these labels. */
export function addTo(series: Series, family: FamilyInfo, labels: Labels, value: number, part?: Part): void {
  let samples = series.get(family);
  if (!samples) {
    samples = new Map();
    series.set(family, samples);
  }
  let key = part ?? '';
  for (const name of family.labels) key += SEPARATOR + (labels[name] ?? '');
  const sample = samples.get(key);
  if (sample) sample.value += value;
  else samples.set(key, part === undefined ? { labels, value } : { labels, value, part });
}

/** A distribution of values: how many were at most `bounds[i]`, and above the one before. */
export interface Distribution {
  readonly bounds: readonly number[];
  /** One more than bounds: what is above all of them. */
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

/** What one source says in one look at the kernel. */
export class Sheet {
  readonly series: Series = new Map();
  /** How many series were left out, by the name of their family. */
  readonly leftOut = new Map<string, number>();

  add(family: FamilyInfo, labels: Labels, value: number): void {
    addTo(this.series, family, labels, value);
  }

  addDistribution(family: FamilyInfo, labels: Labels, { bounds, counts, sum }: Distribution): void {
    let below = 0;
    for (const [i, bound] of bounds.entries()) {
      below += counts[i] ?? 0;
      addTo(this.series, family, { ...labels, le: String(bound) }, below, '_bucket');
    }
    const count = below + (counts[bounds.length] ?? 0);
    addTo(this.series, family, { ...labels, le: '+Inf' }, count, '_bucket');
    addTo(this.series, family, labels, sum, '_sum');
    addTo(this.series, family, labels, count, '_count');
  }

  leaveOut(family: FamilyInfo, series: number): void {
    if (series > 0) this.leftOut.set(family.name, (this.leftOut.get(family.name) ?? 0) + series);
  }
}
