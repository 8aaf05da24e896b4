import { attachFailure, type SectionTarget, sectionTarget } from './attach.ts';
import {
  describeFailure,
  EbpfAttachError,
  EbpfError,
  EbpfNotSupportedError,
  withKernelWords,
} from './errors.ts';
import { findInterface, type NetTarget, requireUp, xdpHolder, xdpState } from './interface.ts';
import { closedInTime, keepAlive, warnIfForgotten } from './lifetime.ts';
import { BpfLink, XdpLink, type XdpMode, type XdpOptions } from './link.ts';
import type { Bytes } from './map.ts';
import { type NativeInterface, type NativeLink, type NativeProgram, native } from './native.ts';
import { byIdFailure, openId, openPin, pin } from './pin.ts';
import { permissionError } from './privileges.ts';
import { attachTc, type TcLink, type TcOptions } from './tc.ts';
import { tracepointNumber } from './tracepoint.ts';

export interface ProgramStats {
  /** Runs while somebody held enableStats or kernel.bpf_stats_enabled was 1; 0 otherwise. */
  runCount: number;
  runTimeNs: number;
  /** Runs that were skipped because the program was running on that CPU already (kernel 5.12). */
  recursionMisses: number;
  /** Instructions that the verifier walked (kernel 5.16). */
  verifiedInstructions: number;
}

export interface RunOptions {
  /** What the program works on: for XDP and TC a frame of at least 14 bytes. */
  data?: Bytes;
  /** Receives what the program left of `data`. */
  dataOut?: Bytes;
  ctx?: Bytes;
  /** How often to run it. Default 1. */
  repeat?: number;
  cpu?: number;
}

export interface RunResult {
  /** What the program returned: for XDP an `XDP_*` number, 2 being XDP_PASS. */
  retval: number;
  /** Mean time of one run, in nanoseconds. */
  durationNs: number;
  dataOutSize: number;
}

/** A program in the kernel, as BpfProgram.list() has it. */
export interface ProgramListing {
  id: number;
  /** As the kernel keeps it: 15 characters. */
  name: string;
  type: string;
  tag: string;
}

/** What a program needs of the object that it came from. @internal */
export interface ProgramOwner {
  readonly links: Set<BpfLink>;
}

/**
 * A program in the kernel.
 *
 * @example
 * const program = object.program('xdp_counter');
 * using link = program.attachXdp({ iface: 'eth0', mode: 'skb' });
 */
export class BpfProgram implements Disposable {
  readonly name: string;
  /** Its SEC(); empty for a program that came from a pin or an id. */
  readonly section: string;
  /** The kernel's word: `xdp`, `sched_cls`, `raw_tracepoint`, … */
  readonly type: string;
  /** The kernel's number for it. */
  readonly id: number;
  /** A hash of its instructions, as the kernel has it. */
  readonly tag: string;
  readonly fd: number;
  /** The verifier's log, where it was asked for at load. */
  declare readonly verifierLog?: string;
  /** @internal */
  readonly native: NativeProgram;
  readonly #owner: ProgramOwner;

  private constructor(nativeProgram: NativeProgram, owner: ProgramOwner, verifierLog: string | undefined) {
    const shape = nativeProgram.describe();
    this.name = shape.name;
    this.section = shape.section;
    this.type = shape.type;
    this.id = shape.id;
    this.tag = shape.tag;
    this.fd = shape.fd;
    if (verifierLog !== undefined) this.verifierLog = verifierLog;
    this.native = nativeProgram;
    this.#owner = owner;
    keepAlive(this, owner);
  }

  /** @internal */
  static wrap(nativeProgram: NativeProgram, owner: ProgramOwner, verifierLog?: string): BpfProgram {
    return new BpfProgram(nativeProgram, owner, verifierLog);
  }

  /**
   * Opens a pinned program.
   *
   * @throws EbpfError `ERR_EBPF_PIN_KIND` where something else is pinned there; ENOENT, `ERR_EBPF_NO_BPFFS`
   */
  static fromPin(path: string): BpfProgram {
    return BpfProgram.#opened(openPin(path, 'program').handle);
  }

  /**
   * A program of any process, by the kernel's number.
   *
   * @throws EbpfError ENOENT where there is none
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static fromId(id: number): BpfProgram {
    return BpfProgram.#opened(openId('program', id, () => native().programById(id)));
  }

  /**
   * Every program on this machine, whoever loaded it.
   *
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static list(): ProgramListing[] {
    try {
      return native().programs();
    } catch (error) {
      throw byIdFailure('list the programs', error);
    }
  }

  static #opened(handle: NativeProgram): BpfProgram {
    try {
      const program = new BpfProgram(handle, { links: new Set() }, undefined);
      warnIfForgotten(program, `the BPF program ${program.name}`);
      return program;
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  /**
   * Attaches the program where its SEC() says: `tp/sched/sched_switch`, `raw_tp/sys_enter`, `kprobe/do_unlinkat`, …
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_TARGET` where the section names none, `ERR_EBPF_NO_TRACEPOINT`
   * @throws EbpfNotSupportedError where the kernel lacks what it takes, or tracefs is not mounted
   * @throws EbpfPermissionError naming what the process lacks
   * @example
   * using object = await loadObject('trace.bpf.o');
   * using link = object.program('on_switch').attach();
   */
  attach(): BpfLink {
    const at = sectionTarget(this);
    if (at.kind === 'tp' || at.kind === 'tracepoint') {
      const slash = at.target.indexOf('/');
      return this.attachTracepoint(at.target.slice(0, Math.max(slash, 0)), at.target.slice(slash + 1));
    }
    return this.#attach(at, () => this.native.attach());
  }

  /**
   * Attaches to a tracepoint, by the two names that it has below events/ in tracefs.
   *
   * @param options.cookie what bpf_get_attach_cookie() gives the program (kernel 5.15)
   * @throws EbpfAttachError `ERR_EBPF_NO_TRACEPOINT` with the nearest names
   * @throws EbpfNotSupportedError where tracefs is not mounted
   */
  attachTracepoint(category: string, name: string, options: { cookie?: bigint } = {}): BpfLink {
    const number = tracepointNumber(`attach ${this.name} to ${category}/${name}`, category, name);
    const at = { kind: 'tracepoint', target: `${category}/${name}` };
    return this.#attach(at, () => this.native.attachTracepoint(number, options.cookie));
  }

  /**
   * Attaches to a tracepoint before its arguments are made into a record: cheaper, and without tracefs.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_TRACEPOINT`
   */
  attachRawTracepoint(name: string): BpfLink {
    return this.#attach({ kind: 'raw_tracepoint', target: name }, () =>
      this.native.attachRawTracepoint(name),
    );
  }

  #attach(at: SectionTarget, attempt: () => NativeLink): BpfLink {
    let nativeLink: NativeLink;
    try {
      nativeLink = attempt();
    } catch (error) {
      throw attachFailure(`attach ${this.name} to ${at.target}`, this.name, at, error);
    }
    const links = this.#owner.links;
    try {
      const link = new BpfLink({
        ...{
          native: nativeLink,
          program: this,
          kind: nativeLink.info().type,
          target: at.target,
          owner: 'fd',
        },
        onClose: (closed) => links.delete(closed),
      });
      links.add(link);
      return link;
    } catch (error) {
      nativeLink.close();
      throw error;
    }
  }

  /**
   * Attaches an XDP program to an interface, in one mode, with one attempt.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`, `ERR_EBPF_INTERFACE_DOWN`; `EBUSY` or `EEXIST` with the `holder`
   *   where another program is there; `EOPNOTSUPP` or `EINVAL` where the driver cannot do the mode
   * @throws EbpfPermissionError without CAP_NET_ADMIN
   */
  attachXdp(options: NetTarget & XdpOptions): XdpLink {
    const entry = findInterface(options);
    const mode = options.mode ?? 'drv';
    requireUp(`attach ${this.name} to ${entry.name}`, entry, options);
    return this.#attachXdp(entry, mode, options);
  }

  /**
   * Attaches a TC program (`SEC("tc")`) to an interface's ingress or egress: beside what others have there, never in
   * its place.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`, `ERR_EBPF_INTERFACE_DOWN`, `ERR_EBPF_PROGRAM_TYPE`; `EEXIST` with
   *   the `holder` where the priority and handle are taken, or TCX has this program there already; `ENOENT` where
   *   `order` names a program or link that is not there
   * @throws EbpfNotSupportedError for `via: 'tcx'` or an `order` before kernel 6.6
   * @throws EbpfPermissionError without CAP_NET_ADMIN
   * @example
   * using link = program.attachTc({ iface: 'eth0', direction: 'egress' });
   * console.log(link.via, link.state());
   */
  attachTc(options: NetTarget & TcOptions): TcLink {
    const links = this.#owner.links;
    const link = attachTc(this, options, (closed) => links.delete(closed));
    links.add(link);
    return link;
  }

  #attachXdp(
    entry: NativeInterface,
    mode: XdpMode,
    options: XdpOptions & { netns?: string | number },
  ): XdpLink {
    const { netns, replace } = options;
    const owner = options.via === 'netlink' || replace ? 'netlink' : 'fd';
    const what = `attach ${this.name} to ${entry.name} (${mode})`;
    let nativeLink: NativeLink;
    try {
      nativeLink =
        owner === 'netlink'
          ? this.native.attachXdpNetlink(entry.ifindex, mode, netns, replace?.programId, false)
          : this.native.attachXdp(entry.ifindex, mode, netns);
    } catch (error) {
      throw this.#attachFailure(what, entry, netns, error);
    }
    const links = this.#owner.links;
    const init = { native: nativeLink, program: this, kind: 'xdp', target: entry.name, owner } as const;
    const link = new XdpLink({ ...init, onClose: (closed) => links.delete(closed) }, entry.ifindex, mode);
    links.add(link);
    // Only the kernel's word counts: our id, in the slot of this mode.
    const found = xdpState(entry.ifindex, netns)[mode];
    if (found !== this.id) {
      link.close();
      throw new EbpfAttachError(
        `${what}: the kernel reports program ${found || 'none'} there, not ${this.id}`,
        {
          code: 'ERR_EBPF_NOT_ATTACHED',
          target: entry.name,
        },
      );
    }
    return link;
  }

  #attachFailure(
    what: string,
    entry: NativeInterface,
    netns: string | number | undefined,
    error: unknown,
  ): EbpfError {
    const { words, log, ...options } = describeFailure(error, `program ${this.name}`);
    const reason = withKernelWords(words, log);
    switch (options.code) {
      case 'EPERM':
        return permissionError(`${what}: ${reason}`, options, ['CAP_NET_ADMIN']);
      case 'EBUSY':
      case 'EEXIST': {
        const holder = xdpHolder(entry.ifindex, netns);
        if (!holder) break;
        const name = holder.name === undefined ? '' : ` "${holder.name}"`;
        const remedy =
          holder.linkId === undefined
            ? `detach it, or name it to take its place (in code: replace: { programId: ${holder.programId} })`
            : `link ${holder.linkId} holds it: only its owner can change or detach it`;
        return new EbpfAttachError(`${what}: ${reason}: held by program ${holder.programId}${name}`, {
          ...options,
          target: entry.name,
          holder,
          hint: remedy,
        });
      }
    }
    return new EbpfAttachError(`${what}: ${reason}`, { ...options, target: entry.name });
  }

  /**
   * Runs the program once, or `repeat` times, on data of the caller's (BPF_PROG_TEST_RUN). For XDP and TC the frame
   * goes nowhere; maps change as they would.
   *
   * @throws EbpfNotSupportedError for a program type that the kernel cannot run by hand
   * @example
   * const { retval, durationNs } = program.run({ data: frame, repeat: 1000 });
   */
  run(options: RunOptions = {}): RunResult {
    try {
      return this.native.run(options.data, options.dataOut, options.ctx, options.repeat ?? 1, options.cpu);
    } catch (error) {
      const { words, log: _, ...rest } = describeFailure(error, `program ${this.name}`);
      const message = `run ${this.name} (${this.type}): ${words}`;
      if (rest.code === 'ENOTSUPP' || rest.code === 'EOPNOTSUPP') {
        throw new EbpfNotSupportedError(message, { ...rest, feature: `test run of ${this.type}` });
      }
      throw new EbpfError(message, rest);
    }
  }

  /** What the kernel has counted of it. */
  stats(): ProgramStats {
    try {
      return this.native.stats();
    } catch (error) {
      const { words, log: _, ...rest } = describeFailure(error, `program ${this.name}`);
      throw new EbpfError(`query ${this.name}: ${words}`, rest);
    }
  }

  /**
   * Gives the program a name in the BPF file system, which keeps it in the kernel when nobody else does.
   *
   * @throws EbpfError EEXIST where the name is taken, `ERR_EBPF_PIN_NAME`, `ERR_EBPF_NO_BPFFS`
   */
  pin(path: string): void {
    pin(this.native, `program ${this.name}`, path);
  }

  /** Gives the handle up. The program lives on while a link, a pin or another handle holds it. */
  close(): void {
    closedInTime(this);
    this.native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
