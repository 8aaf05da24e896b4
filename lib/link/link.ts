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
 * What holds an attachment: a descriptor of this process; the interface (`netlink`), the socket or the map
 * that it is on; or a pin that the handle made or was opened by.
 */
export type LinkOwner = 'fd' | 'netlink' | 'socket' | 'map' | 'pinned';

/** @internal */
export interface LinkInit {
  native: NativeLink;
  /** Absent if the link was opened by pin or id. */
  program?: ProgramRef;
  kind: string;
  target: string;
  owner: LinkOwner;
  onClose?: (link: BpfLink) => void;
  pins?: string[];
  /** The link belongs to another process: close() closes only the handle. */
  borrowed?: boolean;
  /** A netlink attachment that outlives the process: close() closes only the handle. */
  persist?: boolean;
}

/** A link in the kernel, as BpfLink.list() returns it. */
export interface LinkListing {
  /** The link's id, which BpfLink.fromId() takes. */
  id: number;
  /** The kernel's name of its kind: `xdp`, `tracing`, `perf_event`, … */
  kind: string;
  /** The id of the attached program; 0 for a struct_ops link, which attaches a map. */
  programId: number;
  /** The target, if the kernel reports it: `ifindex 3`, `sys_enter`. */
  target: string;
}

/**
 * An attached program. A link is never garbage-collected while attached: close(), detach() or the end of the
 * process ends it.
 *
 * @example
 * using link = program.attachXdp({ iface: 'eth0' });
 * console.log(link.kind, link.id, link.state());
 */
export class BpfLink implements Disposable {
  /**
   * The kernel's name of its kind: `xdp`, `tcx`, `cgroup`, …; `clsact` for a filter of that qdisc;
   * `socket_filter`.
   */
  readonly kind: string;
  /** The link's id. Netlink attachments and those to sockets have none. */
  declare readonly id?: number;
  readonly #owner: LinkOwner;
  readonly #pins: string[];
  readonly #borrowed: boolean;
  #persistent = false;
  readonly #native: NativeLink;
  /** The target: an interface, a function, a path, … */
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
   * Opens a pinned link. close() keeps it attached; detach() detaches it and removes the pin.
   *
   * @throws EbpfError `ERR_EBPF_PIN_KIND` if something else is pinned there; ENOENT, `ERR_EBPF_NO_BPFFS`
   * @example
   * BpfLink.fromPin('/sys/fs/bpf/counter_link').detach();
   */
  static fromPin(path: string): BpfLink {
    const { handle, path: full } = openPin(path, 'link');
    return BpfLink.#opened(handle, { pins: [full] });
  }

  /**
   * Opens a link of any process by its id. close() keeps it attached as long as something else holds it.
   *
   * @throws EbpfError ENOENT if there is none
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static fromId(id: number): BpfLink {
    const handle = openId('link', id, () => native().linkById(id));
    return BpfLink.#opened(handle, { borrowed: true });
  }

  /**
   * Lists all links on this machine, of every process.
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
   * Replaces the attached program atomically: the old or the new program sees every packet. With `expect`,
   * only if that program is attached now.
   *
   * @throws EbpfAttachError if another program is attached, which stays: EPERM from a link, EEXIST or
   *   `ERR_EBPF_REPLACED` with the `holder` from netlink; ENOENT from a socket without a program
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

  /**
   * Asks the kernel whether this link's program is attached, another one (`replaced`), or none (`detached`).
   */
  state(): 'attached' | 'replaced' | 'detached' {
    if (this.#closed) throw new EbpfStateError(`${this.#noun()} is closed`, { state: 'closed' });
    const info = this.#call('query', () => this.#native.info());
    if (!isLive(info)) return 'detached';
    return info.programId === this.#programId ? 'attached' : 'replaced';
  }

  /** The program that the kernel reports on this hook now. @internal */
  holder(): Holder | undefined {
    const { programId, id } = this.#call('query', () => this.#native.info());
    return programId === 0 ? undefined : holderOf(programId, id);
  }

  /**
   * Pins the link to a path in the BPF file system. It then stays attached when this process ends, even by
   * SIGKILL.
   *
   * @throws EbpfError EEXIST if the path exists, `ERR_EBPF_PIN_NAME`, `ERR_EBPF_NO_BPFFS`;
   *   `ERR_EBPF_NOT_PINNABLE` for a netlink attachment
   */
  pin(path: string): void {
    this.#pins.push(pin(this.#native, this.#noun(), path));
  }

  /** Makes a netlink attachment outlive the process, as a pin does for a link. @internal */
  persist(): void {
    this.#native.persist();
    this.#persistent = true;
  }

  /** Whether the program stays attached when this process ends. @internal */
  get outlivesProcess(): boolean {
    return this.#persistent || this.#pins.length > 0;
  }

  /**
   * Detaches the program, removes the pins that this handle made or was opened by, and closes the link. The
   * kernel detaches a tracing or perf link only when its last holder is gone: another process or pin that has
   * it keeps it attached.
   *
   * @throws EbpfAttachError if another program holds the hook now: that one stays, and this link stays open
   */
  detach(): void {
    this.#call('detach', () => {
      try {
        this.#native.detach();
      } catch (error) {
        // Links without BPF_LINK_DETACH are detached when their last descriptor and pin are gone.
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
   * Detaches the program, unless the link is pinned, persistent or was opened by id: then it stays attached.
   * Never throws: a program that cannot be detached has been replaced or is gone. Closing twice is allowed.
   */
  close(): void {
    if (this.#closed) return;
    try {
      if (!this.outlivesProcess && !this.#borrowed) this.#native.detach();
    } catch {
      // The interface is gone, or the program was replaced. The handle is closed in any case.
    }
    this.#release();
  }

  /** Same as close(). */
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

// A link whose interface, cgroup, namespace or map is gone keeps its program, but reports 0 for the target's
// number (net/core/dev.c, bpf_xdp_link_fill_link_info; kernel/bpf/cgroup.c, bpf_cgroup_link_fill_link_info;
// and so on). A struct_ops link has a map and no program.
function isLive({ programId, ifindex, cgroupId, netnsInode, mapId }: NativeLinkInfo): boolean {
  return (mapId ?? programId) !== 0 && ifindex !== 0 && cgroupId !== 0 && netnsInode !== 0;
}

/** Throws if `persist` is set for a bpf_link, which only a pin keeps beyond its last descriptor. @internal */
export function requirePersistable(persist: boolean, owner: 'fd' | 'netlink'): void {
  if (!persist || owner === 'netlink') return;
  throw new TypeError('persist is for netlink and clsact: use pin() to keep a link when the process ends');
}
