import type { FamilyInfo, Sample } from './family.ts';
import { addTo, type Series, type Sheet } from './sheet.ts';

/**
 * All sources together. Counters never go back: what a source counted stays when it goes, so that the program which takes its
 * place counts on, and so does what a map counted before it was made anew.
 */
export class Totals {
  readonly #last = new Map<object, Series>();
  readonly #kept: Series = new Map();

  /** What a source says now. A series that it no longer has is gone; a counter that fell began again. */
  take(source: object, { series }: Sheet): void {
    const before = this.#last.get(source);
    this.#last.set(source, series);
    if (!before) return;
    for (const [family, samples] of series) {
      const earlier = before.get(family);
      if (!earlier || family.type === 'gauge') continue;
      for (const [key, { value }] of samples) {
        const was = earlier.get(key);
        if (was && was.value > value) this.#keep(family, was);
      }
    }
  }

  /** The source is gone, and what it counted stays. */
  release(source: object): void {
    const last = this.#last.get(source);
    this.#last.delete(source);
    for (const [family, samples] of last ?? []) {
      if (family.type !== 'gauge') for (const sample of samples.values()) this.#keep(family, sample);
    }
  }

  #keep(family: FamilyInfo, { labels, value, part }: Sample): void {
    if (!family.transient) addTo(this.#kept, family, labels, value, part);
  }

  /** Of each family the sums over all sources. */
  sums(): Series {
    const sums: Series = new Map();
    for (const series of [this.#kept, ...this.#last.values()]) {
      for (const [family, samples] of series) {
        for (const { labels, value, part } of samples.values()) addTo(sums, family, labels, value, part);
      }
    }
    return sums;
  }
}
