import type { FamilyInfo } from './family.ts';
import type { Sheet } from './sheet.ts';

// From a tenth of a millisecond, in steps of two: what a look at a few maps takes, up to one at a million entries.
const BOUNDS = Array.from({ length: 14 }, (_, i) => 2 ** i * 1e-4);

export const POLL_DURATION: FamilyInfo = {
  name: 'ebpf_poll_duration_seconds',
  help: 'Time that looks at the kernel took, all maps and programs together',
  type: 'histogram',
  labels: ['le'],
};

/** How long looks took. */
export class PollDuration {
  readonly #counts = new Float64Array(BOUNDS.length + 1);
  #sum = 0;

  observe(seconds: number): void {
    const found = BOUNDS.findIndex((bound) => seconds <= bound);
    const bucket = found < 0 ? BOUNDS.length : found;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  addTo(sheet: Sheet): void {
    sheet.series.delete(POLL_DURATION);
    sheet.addDistribution(POLL_DURATION, {}, { bounds: BOUNDS, counts: this.#counts, sum: this.#sum });
  }
}
