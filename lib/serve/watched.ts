import { EbpfError, EbpfNotSupportedError, EbpfPermissionError } from '../core/errors.ts';
import { listInterfaces } from '../kernel/interfaces.ts';
import { type ComponentHealth, component } from '../loader/health.ts';
import type { BundledProgram } from '../metrics/bundled-source.ts';
import type { EbpfMetrics } from '../metrics/ebpf-metrics.ts';
import { FAMILIES } from '../metrics/families.ts';
import type { Sheet } from '../metrics/sheet.ts';
import type { Source } from '../metrics/source.ts';

/** A program to attach, and its target. */
export interface Wanted<P extends BundledProgram> {
  /** The name of its file in bpf/. */
  readonly program: string;
  readonly iface?: string;
  readonly netns?: string;
  readonly attach: () => Promise<P>;
}

/**
 * A bundled program that should be attached. While it is, EbpfMetrics asks the program itself for metrics and
 * health; while it is not, this reports the reason.
 */
export class Watched<P extends BundledProgram = BundledProgram> implements Source {
  readonly name: string;
  readonly iface: string | undefined;
  readonly #wanted: Wanted<P>;
  readonly #metrics: EbpfMetrics;
  readonly #errors = new Map<string, number>();
  #program: P | undefined;
  #ifindex: number | undefined;
  #error: EbpfError | undefined;

  constructor(wanted: Wanted<P>, metrics: EbpfMetrics) {
    this.#wanted = wanted;
    this.#metrics = metrics;
    this.iface = wanted.iface;
    this.name = wanted.iface === undefined ? wanted.program : `${wanted.program}:${wanted.iface}`;
    metrics.addSource(this);
  }

  /** The program; undefined while it is not attached. */
  get program(): P | undefined {
    return this.#program;
  }

  /** Why the program is not attached. */
  get error(): EbpfError | undefined {
    return this.#error;
  }

  /**
   * Attaches the program, after closing the previous one. Does not throw an EbpfError, but keeps it in
   * `error` and counts it in the metrics, so that other programs can be attached.
   */
  async attach(): Promise<void> {
    this.close();
    try {
      const program = await this.#wanted.attach();
      this.#program = program;
      this.#error = undefined;
      this.#ifindex = this.#ifindexNow();
      this.#metrics.add(program);
    } catch (error) {
      if (!(error instanceof EbpfError)) throw error;
      this.#error = error;
      this.#errors.set(error.code, (this.#errors.get(error.code) ?? 0) + 1);
    }
  }

  /**
   * Whether another attempt may succeed: after a failure, except for missing permissions or kernel support;
   * and if the interface was deleted and made again. A program that was detached from outside is not attached
   * again.
   */
  isWorthRetrying(): boolean {
    if (this.#error) {
      return !(this.#error instanceof EbpfPermissionError || this.#error instanceof EbpfNotSupportedError);
    }
    const ifindex = this.#ifindexNow();
    return ifindex !== undefined && ifindex !== this.#ifindex;
  }

  look(sheet: Sheet): void {
    for (const [code, count] of this.#errors) {
      sheet.add(FAMILIES.attachmentErrors, { interface: this.iface ?? '', error_type: code }, count);
    }
  }

  health(): ComponentHealth[] {
    if (this.#program) return [];
    return [
      component(`program:${this.name}`, () => {
        const { code, message = `${this.name} is not attached yet`, hint } = this.#error ?? {};
        const reason = hint === undefined ? message : `${message} (${hint})`;
        return { status: 'unhealthy', message: reason, details: { code } };
      }),
    ];
  }

  /** Detaches the program. Its counts stay in the metrics. */
  close(): void {
    if (!this.#program) return;
    this.#metrics.remove(this.#program);
    this.#program.close();
    this.#program = undefined;
  }

  #ifindexNow(): number | undefined {
    if (this.iface === undefined) return undefined;
    try {
      return listInterfaces(this.#wanted.netns).find(({ name }) => name === this.iface)?.ifindex;
    } catch (error) {
      if (error instanceof EbpfError) return undefined; // the namespace is gone too
      throw error;
    }
  }
}
