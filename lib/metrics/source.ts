import type { ComponentHealth } from '../loader/health.ts';
import type { Sheet } from './sheet.ts';

/** Something that is looked at, at each scrape. */
export interface Source {
  /** For ebpf_read_errors_total. */
  readonly name: string;
  /** What the kernel says now. Maps that were read tell how many entries they hold, by id, so that nobody counts them again. */
  look(sheet: Sheet, counted: Map<number, number>): void;
  /** Asked of the kernel. */
  health?(): ComponentHealth[];
  close?(): void;
}
