import type { NativeLink, NativeLinkInfo } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import {
  describeFailure,
  EbpfAttachError,
  EbpfStateError,
  errnoName,
  type Holder,
  isNativeFailure,
} from '../core/errors.ts';
import { keepAlive, root, unroot } from '../core/lifetime.ts';
import { byIdFailure, openId } from '../handle/by-id.ts';
import { holderOf } from '../handle/holder.ts';
import { openPin, pin, unpin } from '../handle/pin.ts';
import { missingCapabilities, permissionError } from '../kernel/capabilities.ts';
import type { ProgramRef } from './program-ref.ts';

/**
 * What holds an attachment: a descriptor of this process; the interface, the socket or the map that it is on; or a pin
 * that the handle knows.
 */
export type LinkOwner = 'fd' | 'netlink' | 'socket' | 'map' | 'pinned';

/** @internal */
export interface LinkInit {
  native: NativeLink;
  /** Absent for a link that came from a pin or an id. */
  program?: ProgramRef;
  kind: string;
  target: string;
  owner: LinkOwner;
  onClose?: (link: BpfLink) => void;
  pins?: string[];
  /** Somebody else's: close() gives up the handle alone. */
  borrowed?: boolean;
  /** A netlink attachment that outlives the process: close() gives up the handle alone. */
  persist?: boolean;
}

/** A link in the kernel, as BpfLink.list() has it. */
export interface LinkListing {
  /** The kernel's number for it, which BpfLink.fromId() takes. */
  id: number;
  /** The kernel's word: `xdp`, `tracing`, `perf_event`, … */
  kind: string;
  /** 0 for a struct_ops link, which is of a map. */
  programId: number;
  /** What it is attached to, where the kernel says: `ifindex 3`, `sys_enter`. */
  target: string;
}

/**
 * An attachment. It is never garbage-collected while attached: close() or detach() ends it, or the end of the process.
 *
 * @example
 * using link = program.attachXdp({ iface: 'eth0' });
 * console.log(link.kind, link.id, link.state());
 */
export class BpfLink implements Disposable {
  /** The kernel's word: `xdp`, `tcx`, `cgroup`, …; `clsact` for a filter of that qdisc, `socket_filter` on a socket. */
  readonly kind: string;
  /** The kernel's number for it; a netlink attachment and a socket's have none. */
  declare readonly id?: number;
  readonly #owner: LinkOwner;
  readonly #pins: string[];
  readonly #borrowed: boolean;
  #persistent = false;
  readonly #native: NativeLink;
  /** What it is attached to: an interface, a function, a path, … */
  readonly target: string;
  readonly #onClose: ((link: BpfLink) => void) | undefined;
  #programId: number;
  #closed = false;

  /** @internal */
  constructor(init: LinkInit) {
    this.kind = init.kind;
    this.#owner = init.owner;
    this.#pins = init.pins ?? [];
    this.#borrowed = init.borrowed ?? false;
    this.#native = init.native;
    this.target = init.target;
    this.#onClose = init.onClose;
    const { id, programId } = init.native.info();
    this.#programId = init.program?.id ?? programId;
    if (id !== undefined) this.id = id;
    if (init.program) keepAlive(this, init.program);
    if (init.persist) this.persist();
    root(this, init.owner === 'netlink' || init.owner === 'map');
  }

  /**
   * Opens a pinned link. close() leaves it attached; detach() ends it and removes the pin.
   *
   * @throws EbpfError `ERR_EBPF_PIN_KIND` where something else is pinned there; ENOENT, `ERR_EBPF_NO_BPFFS`
   * @example
   * BpfLink.fromPin('/sys/fs/bpf/counter_link').detach();
   */
  static fromPin(path: string): BpfLink {
    const { handle, path: full } = openPin(path, 'link');
    return BpfLink.#opened(handle, { pins: [full] });
  }

  /**
   * A link of any process, by the kernel's number. close() leaves it attached while somebody else holds it.
   *
   * @throws EbpfError ENOENT where there is none
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static fromId(id: number): BpfLink {
    const handle = openId('link', id, () => native().linkById(id));
    return BpfLink.#opened(handle, { borrowed: true });
  }

  /**
   * Every link on this machine, whoever made it.
   *
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static list(): LinkListing[] {
    try {
      return native()
        .links()
        .map(({ id = 0, type, programId, target = '' }) => ({ id, kind: type, programId, target }));
    } catch (error) {
      throw byIdFailure('list the links', error);
    }
  }

  static #opened(handle: NativeLink, rest: Pick<LinkInit, 'pins' | 'borrowed'>): BpfLink {
    try {
      const { type, target } = handle.info();
      return new BpfLink({
        native: handle,
        kind: type,
        target: target || 'the kernel',
        owner: 'fd',
        ...rest,
      });
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  /** What holds the attachment. */
  get owner(): LinkOwner {
    return this.#pins.length > 0 ? 'pinned' : this.#owner;
  }

  /**
   * Puts another program in place of the attached one, at once: every packet is seen by the old or by the new program.
   * With `expect`, only where that program is attached now.
   *
   * @throws EbpfAttachError where another one is, which stays: EPERM from a link, EEXIST or `ERR_EBPF_REPLACED` with the
   *   `holder` from netlink; ENOENT from a socket that has none
   */
  update(program: ProgramRef, options: { expect?: ProgramRef } = {}): void {
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
    if (!isLive(info)) return 'detached';
    return info.programId === this.#programId ? 'attached' : 'replaced';
  }

  /** Whose program the kernel says is in our place now. @internal */
  holder(): Holder | undefined {
    const { programId, id } = this.#call('query', () => this.#native.info());
    return programId === 0 ? undefined : holderOf(programId, id);
  }

  /**
   * Gives the link a name in the BPF file system: it stays attached when this process ends, however it ends.
   *
   * @throws EbpfError EEXIST where the name is taken, `ERR_EBPF_PIN_NAME`, `ERR_EBPF_NO_BPFFS`;
   *   `ERR_EBPF_NOT_PINNABLE` for a netlink attachment
   */
  pin(path: string): void {
    this.#pins.push(pin(this.#native, this.#noun(), path));
  }

  /** A netlink attachment is to outlive the process, as a pin does for a link. @internal */
  persist(): void {
    this.#native.persist();
    this.#persistent = true;
  }

  /** Whether it stays when this process ends. @internal */
  get outlivesProcess(): boolean {
    return this.#persistent || this.#pins.length > 0;
  }

  /**
   * Takes the program off, removes the pins that this handle made or was opened by, and closes the link. A tracing or
   * perf link has no other end than its last holder's: another process or pin that has it keeps it attached.
   *
   * @throws EbpfAttachError where somebody else's program holds the hook now: it stays, and the link is still open
   */
  detach(): void {
    this.#call('detach', () => {
      try {
        this.#native.detach();
      } catch (error) {
        // Links without BPF_LINK_DETACH end with their last descriptor and pin.
        const endsWithHolder = isNativeFailure(error) && errnoName(error.errno ?? 0) === 'EOPNOTSUPP';
        if (this.#owner !== 'fd' || !endsWithHolder) throw error;
      }
    });
    for (let path = this.#pins.at(-1); path !== undefined; path = this.#pins.at(-1)) {
      unpin(path, 'link', this.id);
      this.#pins.pop();
    }
    this.#release();
  }

  /**
   * Detaches, unless the link is pinned, persistent or came from an id: then it is left there. Never throws: what
   * cannot be taken off is not ours any more. Idempotent.
   */
  close(): void {
    if (this.#closed) return;
    try {
      if (!this.outlivesProcess && !this.#borrowed) this.#native.detach();
    } catch {
      // The interface is gone, or somebody replaced the program: the handle goes all the same.
    }
    this.#release();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #release(): void {
    this.#closed = true;
    this.#native.close();
    unroot(this);
    this.#onClose?.(this);
  }

  #noun(): string {
    return `the ${this.kind} link on ${this.target}`;
  }

  #call<T>(verb: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const { words, log, options } = describeFailure(error, this.#noun());
      const message = `${verb} ${this.#noun()}: ${words}`;
      if (options.code === 'EPERM') {
        const missing = missingCapabilities([this.owner === 'netlink' ? 'CAP_NET_ADMIN' : 'CAP_BPF']);
        if (missing.length > 0) throw permissionError(message, options, missing);
      }
      throw new EbpfAttachError(message, {
        ...options,
        target: this.target,
        hint: log.at(-1),
        holder: options.code === 'ERR_EBPF_REPLACED' ? this.holder() : undefined,
      });
    }
  }
}

// A link whose interface, cgroup, namespace or map went away keeps its program and loses the number of the other
// (net/core/dev.c, bpf_xdp_link_fill_link_info; kernel/bpf/cgroup.c, bpf_cgroup_link_fill_link_info; and so on). Of
// struct_ops there is no program, but the map.
function isLive({ programId, ifindex, cgroupId, netnsInode, mapId }: NativeLinkInfo): boolean {
  return (mapId ?? programId) !== 0 && ifindex !== 0 && cgroupId !== 0 && netnsInode !== 0;
}

/** A bpf_link ends with its last descriptor: only a pin keeps it. @internal */
export function requirePersistable(persist: boolean, owner: 'fd' | 'netlink'): void {
  if (!persist || owner === 'netlink') return;
  throw new TypeError('persist is for netlink and clsact: pin() keeps a link beyond the process');
}
