import { EbpfError, EbpfNotSupportedError, EbpfPermissionError } from '../core/errors.ts';
import { listInterfaces } from '../kernel/interfaces.ts';
import { type ComponentHealth, component } from '../loader/health.ts';
import type { BundledProgram } from '../metrics/bundled-source.ts';
import type { EbpfMetrics } from '../metrics/ebpf-metrics.ts';
import { FAMILIES } from '../metrics/families.ts';
import type { Sheet } from '../metrics/sheet.ts';
import type { Source } from '../metrics/source.ts';

/** What is to be attached, and where. */
export interface Wanted<P extends BundledProgram> {
  /** As its file in bpf/. */
  readonly program: string;
  readonly iface?: string;
  readonly netns?: string;
  readonly attach: () => Promise<P>;
}

/**
 * A bundled program that is meant to be attached, which it may not be yet, or no more. While it is attached its metrics and
 * its health are its own; while it is not, this says why.
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

  /** Undefined while it is not attached. */
  get program(): P | undefined {
    return this.#program;
  }

  /** Why it is not attached. */
  get error(): EbpfError | undefined {
    return this.#error;
  }

  /**
   * Attaches it, in the place of the one that there was. What the kernel has against it is `error`, and in the metrics: who
   * watches several goes on with the others.
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
   * Whether an attempt may end otherwise than the last one: where it could not be attached, but not for want of permissions
   * or of a kernel, and where its interface is another one now (it went away and came back). Not where somebody detached it,
   * who will have had a reason.
   */
  isWorthAnother(): boolean {
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
        const words = hint === undefined ? message : `${message} (${hint})`;
        return { status: 'unhealthy', message: words, details: { code } };
      }),
    ];
  }

  /** Detaches it. What it counted stays in the metrics. */
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
