import { describeFailure, EbpfAttachError, EbpfStateError, type Holder } from './errors.ts';
import { holderOf } from './interface.ts';
import { keepAlive, root, unroot } from './lifetime.ts';
import type { NativeLink, NativeLinkInfo } from './native.ts';
import type { BpfProgram } from './program.ts';

/** `drv`: in the driver; `skb`: generic, in the stack, on any interface; `hw`: on the card. */
export type XdpMode = 'skb' | 'drv' | 'hw';

export interface XdpOptions {
  /** One mode is that mode: no fallback. Default `drv`. */
  mode?: XdpMode;
  /** `link` (default) is undone when the process ends, however it ends; `netlink` when the process exits orderly. */
  via?: 'link' | 'netlink';
  /** Take the place of exactly this program, by netlink. */
  replace?: { programId: number };
  /** Set the interface up first. Default false: an interface that is down is an error. */
  bringUp?: boolean;
}

/** @internal */
export interface LinkInit {
  native: NativeLink;
  program: BpfProgram;
  kind: string;
  target: string;
  owner: 'fd' | 'netlink';
  onClose: (link: BpfLink) => void;
}

/**
 * An attachment. It is never garbage-collected while attached: close() or detach() ends it, or the end of the process.
 *
 * @example
 * using link = program.attachXdp({ iface: 'eth0' });
 * console.log(link.kind, link.id, link.state());
 */
export class BpfLink implements Disposable {
  /** The kernel's word: `xdp`, `tcx`, …; `clsact` for a filter of that qdisc. */
  readonly kind: string;
  /** The kernel's number for it; a netlink attachment has none. */
  declare readonly id?: number;
  /** What holds the attachment: a descriptor of this process, or the interface itself. */
  readonly owner: 'fd' | 'netlink';
  readonly #native: NativeLink;
  readonly #target: string;
  readonly #onClose: (link: BpfLink) => void;
  #programId: number;
  #closed = false;

  /** @internal */
  constructor(init: LinkInit) {
    this.kind = init.kind;
    this.owner = init.owner;
    this.#native = init.native;
    this.#target = init.target;
    this.#onClose = init.onClose;
    this.#programId = init.program.id;
    const { id } = init.native.info();
    if (id !== undefined) this.id = id;
    keepAlive(this, init.program);
    root(this, init.owner === 'netlink');
  }

  /**
   * Puts another program in place of the attached one, at once: every packet is seen by the old or by the new program.
   * With `expect`, only where that program is attached now.
   *
   * @throws EbpfAttachError where another one is, which stays: EPERM from a link, EEXIST or `ERR_EBPF_REPLACED` with the
   *   `holder` from netlink
   */
  update(program: BpfProgram, options: { expect?: BpfProgram } = {}): void {
    this.#call('update', () => {
      this.#native.update(program.native, options.expect?.native);
    });
    this.#programId = program.id;
  }

  /** @internal */
  get closed(): boolean {
    return this.#closed;
  }

  /** The kernel's answer: whether our program is attached there, another one, or none. */
  state(): 'attached' | 'replaced' | 'detached' {
    if (this.#closed) throw new EbpfStateError(`${this.#noun()} is closed`, { state: 'closed' });
    const info = this.#call('query', () => this.#native.info());
    if (!isAttached(info)) return 'detached';
    return info.programId === this.#programId ? 'attached' : 'replaced';
  }

  /** Whose program the kernel says is in our place now. @internal */
  holder(): Holder | undefined {
    const { programId, id } = this.#call('query', () => this.#native.info());
    return programId === 0 ? undefined : holderOf(programId, id);
  }

  /**
   * Takes the program off and closes the link.
   *
   * @throws EbpfAttachError where somebody else's program holds the hook now: it stays, and the link is still open
   */
  detach(): void {
    this.#call('detach', () => this.#native.detach());
    this.#release();
  }

  /** Detaches, and never throws: what cannot be taken off is not ours any more. Idempotent. */
  close(): void {
    if (this.#closed) return;
    try {
      this.#native.detach();
    } catch {
      // The interface is gone, or somebody replaced the program: the handle goes all the same.
    }
    this.#release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #release(): void {
    this.#closed = true;
    this.#native.close();
    unroot(this);
    this.#onClose(this);
  }

  #noun(): string {
    return `the ${this.kind} link on ${this.#target}`;
  }

  #call<T>(verb: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const { words, log, ...options } = describeFailure(error, this.#noun());
      throw new EbpfAttachError(`${verb} ${this.#noun()}: ${words}`, {
        ...options,
        target: this.#target,
        hint: log.at(-1),
        holder: options.code === 'ERR_EBPF_REPLACED' ? this.holder() : undefined,
      });
    }
  }
}

// A link whose interface went away keeps its program and loses its ifindex (net/core/dev.c, bpf_xdp_link_fill_link_info).
function isAttached(info: NativeLinkInfo): boolean {
  return info.programId !== 0 && info.ifindex !== 0;
}

/** An XDP program on an interface. */
export class XdpLink extends BpfLink {
  readonly ifindex: number;
  readonly mode: XdpMode;

  /** @internal */
  constructor(init: LinkInit, ifindex: number, mode: XdpMode) {
    super(init);
    this.ifindex = ifindex;
    this.mode = mode;
  }
}
