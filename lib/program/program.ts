import type { NativeLink, NativeProgram } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { type CgroupOptions, cgroupFailure, checkCgroupProgram } from '../attach/cgroup.ts';
import {
  type Attached,
  attachFailure,
  noObject,
  type SectionTarget,
  sectionTarget,
} from '../attach/failure.ts';
import { attachIterator, type BpfIterator, type IteratorOptions, openIterator } from '../attach/iterator.ts';
import {
  attachKprobe,
  attachKprobeMulti,
  attachSyscall,
  type KprobeMultiOptions,
  type KprobeOptions,
  requireCookies,
} from '../attach/kprobe.ts';
import { attachNetfilter, type NetfilterOptions } from '../attach/netfilter.ts';
import { attachNetns } from '../attach/netns.ts';
import { attachPerfEvent, type PerfEventOptions } from '../attach/perf-event.ts';
import { type ParsedSection, parseSection } from '../attach/section.ts';
import { checkSocketProgram, socketFailure } from '../attach/socket.ts';
import { attachSockmap, type SockmapOptions } from '../attach/sockmap.ts';
import { attachTc, type TcLink, type TcOptions } from '../attach/tc.ts';
import { attachUprobe, attachUsdt, type UprobeOptions, type UsdtOptions } from '../attach/uprobe.ts';
import { attachXdp, type XdpLink, type XdpOptions } from '../attach/xdp.ts';
import type { Bytes } from '../core/bytes.ts';
import { describeFailure, EbpfError, EbpfNotSupportedError, isNativeFailure } from '../core/errors.ts';
import { closedInTime, keepAlive, warnIfForgotten } from '../core/lifetime.ts';
import { byIdFailure, openId } from '../handle/by-id.ts';
import { openPin, pin } from '../handle/pin.ts';
import type { NetTarget } from '../kernel/interfaces.ts';
import { tracepointNumber } from '../kernel/tracefs.ts';
import { BpfLink } from '../link/link.ts';
import type { BpfMap } from '../map/map.ts';

/** What the kernel has counted of a program, since it was loaded. */
export interface ProgramStats {
  /** Runs while somebody held enableStats or kernel.bpf_stats_enabled was 1; 0 otherwise. */
  runCount: number;
  /** What those runs took together, in nanoseconds. */
  runTimeNs: number;
  /** Runs that were skipped because the program was running on that CPU already (kernel 5.12). */
  recursionMisses: number;
  /** Instructions that the verifier walked (kernel 5.16). */
  verifiedInstructions: number;
}

/** What a program is run on, by hand. */
export interface RunOptions {
  /** What the program works on: for XDP and TC a frame of at least 14 bytes. */
  data?: Bytes;
  /** Receives what the program left of `data`. */
  dataOut?: Bytes;
  /** Its context, where the kernel takes one: a `struct xdp_md`, a `struct __sk_buff`, a raw tracepoint's arguments. */
  ctx?: Bytes;
  /** How often to run it. Default: once. Raw tracepoints and syscall programs run once, and take no other. */
  repeat?: number;
  /** The CPU that runs it: for raw tracepoints alone. */
  cpu?: number;
}

/** What came of a run by hand. */
export interface RunResult {
  /** What the program returned: for XDP an `XDP_*` number, 2 being XDP_PASS. */
  retval: number;
  /** Mean time of one run, in nanoseconds. */
  durationNs: number;
  /** Bytes that the program left of `data`; where `dataOut` is shorter, it has the first of them. */
  dataOutSize: number;
}

/** A program in the kernel, as BpfProgram.list() has it. */
export interface ProgramListing {
  /** The kernel's number for it, which BpfProgram.fromId() takes. */
  id: number;
  /** As the kernel keeps it: 15 characters. */
  name: string;
  /** The kernel's word: `xdp`, `sched_cls`, … */
  type: string;
  /** A hash of its instructions: two programs may share it. */
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
  /** As its object has it; of a program that came from a pin or an id, as the kernel keeps it: 15 characters. */
  readonly name: string;
  /** Its SEC(); empty for a program that came from a pin or an id. */
  readonly section: string;
  /** The kernel's word: `xdp`, `sched_cls`, `raw_tracepoint`, … */
  readonly type: string;
  /** The kernel's number for it. */
  readonly id: number;
  /** A hash of its instructions, as the kernel has it. */
  readonly tag: string;
  /** This handle's own descriptor; after close() the number may be another file's. */
  readonly fd: number;
  /** The verifier's log, where it was asked for at load. */
  declare readonly verifierLog?: string;
  /** @internal */
  readonly native: NativeProgram;
  readonly #owner: ProgramOwner;
  readonly #hasObject: boolean;

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
    this.#hasObject = shape.instructions !== undefined;
    this.#owner = owner;
    keepAlive(this, owner);
  }

  /** @internal */
  static wrap(nativeProgram: NativeProgram, owner: ProgramOwner, verifierLog?: string): BpfProgram {
    return new BpfProgram(nativeProgram, owner, verifierLog);
  }

  /** Links that close with its object. @internal */
  get links(): Set<BpfLink> {
    return this.#owner.links;
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
   * Attaches the program where its SEC() says: `tp/sched/sched_switch`, `raw_tp/sys_enter`, `kprobe/do_unlinkat`,
   * `uprobe/libc.so.6:malloc`, `usdt/./server:app:request`, `iter/task`, …
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_TARGET` where the section names none, `ERR_EBPF_NO_TRACEPOINT`,
   *   `ERR_EBPF_NO_FUNCTION`, `ERR_EBPF_NO_SYMBOL`, `ERR_EBPF_NO_USDT`
   * @throws EbpfNotSupportedError where the kernel lacks what it takes, or tracefs is not mounted
   * @throws EbpfPermissionError naming what the process lacks
   * @example
   * using object = await loadObject('trace.bpf.o');
   * using link = object.program('on_switch').attach();
   */
  attach(): BpfLink {
    const at = sectionTarget(this);
    const parsed = parseSection(this, at);
    if (parsed) return this.#attachTo(parsed);
    if (this.#hasObject) return this.#attach(at, () => this.native.attach());
    // libbpf attaches what it has loaded; the kernel knows where a tracing program was loaded for.
    if (!/^(tp_btf|fentry|fexit|fmod_ret|lsm)$/.test(at.kind)) throw noObject(this, at);
    return this.#attach(at, () => this.native.attachRawTracepoint(undefined));
  }

  #attachTo(parsed: ParsedSection): BpfLink {
    switch (parsed.kind) {
      case 'tracepoint':
        return this.attachTracepoint(parsed.category, parsed.name);
      case 'raw_tracepoint':
        return this.attachRawTracepoint(parsed.name);
      case 'kprobe':
        return this.attachKprobe(parsed.name, parsed);
      case 'syscall':
        return this.attachSyscall(parsed.name, parsed);
      case 'kprobe.multi':
        return this.attachKprobeMulti(parsed, parsed);
      case 'uprobe':
        return this.attachUprobe(parsed);
      case 'usdt':
        return this.attachUsdt(parsed);
    }
  }

  /**
   * Attaches to a tracepoint, by the two names that it has below events/ in tracefs.
   *
   * @param options.cookie what bpf_get_attach_cookie() gives the program (kernel 5.15)
   * @throws EbpfAttachError `ERR_EBPF_NO_TRACEPOINT` with the nearest names
   * @throws EbpfNotSupportedError where tracefs is not mounted, and for a cookie before kernel 5.15
   */
  attachTracepoint(category: string, name: string, options: { cookie?: bigint } = {}): BpfLink {
    const what = `attach ${this.name} to ${category}/${name}`;
    requireCookies(what, options.cookie);
    const number = tracepointNumber(what, category, name);
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

  /**
   * Attaches to a function of the kernel: the one that is named, or the first of several names that the kernel has, as
   * functions are renamed between versions. The link's `target` says which.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names; EINVAL where the kernel lets nobody probe it; EILSEQ
   * @throws EbpfNotSupportedError `kprobes` for a kernel without
   * @example
   * using link = program.attachKprobe(['do_unlinkat', 'filename_unlinkat'], { ret: true });
   * console.log(link.target);
   */
  attachKprobe(fn: string | readonly string[], options: KprobeOptions = {}): BpfLink {
    return this.#own(attachKprobe(this, fn, options));
  }

  /**
   * Attaches a `SEC("kprobe.multi")` program to many functions of the kernel, with one link. Kernel 5.18.
   *
   * @param fns names, or a pattern with `*` and `?`, which takes tracefs
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names, where one is missing or nothing matches
   * @throws EbpfNotSupportedError `kprobe.multi`, `tracefs`
   * @example
   * using link = program.attachKprobeMulti({ pattern: 'tcp_v4_*' });
   */
  attachKprobeMulti(fns: readonly string[] | { pattern: string }, options: KprobeMultiOptions = {}): BpfLink {
    return this.#own(attachKprobeMulti(this, fns, options));
  }

  /**
   * Attaches to a system call (`openat`), by the function that it is on this machine's architecture.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names
   * @throws EbpfNotSupportedError `kprobes` for a kernel without
   */
  attachSyscall(name: string, options: { ret?: boolean } = {}): BpfLink {
    return this.#own(attachSyscall(this, name, options.ret ?? false));
  }

  /**
   * Attaches to a function of a program or shared library, or to a place in its file.
   *
   * @throws EbpfAttachError ENOENT without such a file, `ERR_EBPF_NOT_ELF`, `ERR_EBPF_NO_SYMBOL` with near names,
   *   `ERR_EBPF_AMBIGUOUS` with the offsets of several functions of one name
   * @example
   * using link = program.attachUprobe({ binary: 'libc.so.6', symbol: 'malloc', pid: 1234 });
   */
  attachUprobe(options: UprobeOptions): BpfLink {
    return this.#own(attachUprobe(this, options));
  }

  /**
   * Attaches a `SEC("usdt")` program to a probe that the author of a program put in (sys/sdt.h).
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_USDT` with near names; ENOENT, `ERR_EBPF_NOT_ELF`; `ERR_EBPF_NO_OBJECT` for a
   *   program that came from a pin
   * @example
   * using link = program.attachUsdt({ binary: '/usr/bin/postgres', provider: 'postgresql', name: 'query__start' });
   */
  attachUsdt(options: UsdtOptions): BpfLink {
    return this.#own(attachUsdt(this, options));
  }

  /**
   * Runs the program at a frequency: one link for all CPUs, unless one is named. Only what is on a single CPU, or of a
   * process with a single thread, can be pinned.
   *
   * @throws EbpfNotSupportedError `hardware counters` where the machine has none for `cycles` or `instructions`
   * @throws EbpfAttachError ESRCH without such a process; EINVAL above kernel.perf_event_max_sample_rate, ENODEV for a
   *   CPU that is not online
   * @example
   * using link = program.attachPerfEvent({ event: 'cpu-clock', frequency: 99 });
   */
  attachPerfEvent(options: PerfEventOptions): BpfLink {
    return this.#own(attachPerfEvent(this, options));
  }

  /**
   * Attaches a `SEC("sk_lookup")` (kernel 5.9) or `SEC("flow_dissector")` program to a network namespace: a path or a
   * descriptor, which is not needed afterwards.
   *
   * @throws EbpfAttachError ENOENT; EINVAL where it is no network namespace; EEXIST where it has a flow dissector
   */
  attachNetns(netns: string | number): BpfLink {
    return this.#own(attachNetns(this, netns));
  }

  /**
   * Attaches a `SEC("netfilter")` program to a hook of the network stack. Kernel 6.4.
   *
   * @throws EbpfAttachError EBUSY where the priority is taken
   * @throws EbpfNotSupportedError `netfilter`
   * @example
   * using link = program.attachNetfilter({ pf: 'ipv4', hooknum: 'local_in', priority: -128 });
   */
  attachNetfilter(options: NetfilterOptions): BpfLink {
    return this.#own(attachNetfilter(this, options));
  }

  /**
   * Attaches a `SEC("sk_skb/…")` or `SEC("sk_msg")` program to a map of sockets: to those in it now and those to come.
   * A map has one program of each kind, which is never replaced.
   *
   * Linux 5.10 (seen on Debian's 5.10.0-32) hangs for good where a parser is attached and its verdict passes a message: it
   * takes `sk_callback_lock` a second time in `sk_psock_skb_ingress_enqueue()`.
   *
   * @throws EbpfAttachError EBUSY or EEXIST where the map has such a program; `ERR_EBPF_MAP_TYPE`,
   *   `ERR_EBPF_PROGRAM_TYPE`, `ERR_EBPF_NO_TARGET`
   */
  attachSockmap(map: BpfMap, options: SockmapOptions = {}): BpfLink {
    return this.#own(attachSockmap(this, map, options));
  }

  /**
   * Runs a `SEC("iter/…")` program over the kernel's objects, and gives what it writes. Kernel 5.8. attach() gives the
   * link alone, to be pinned: each reading of the pin is such a run.
   *
   * @throws EbpfAttachError where the program iterates a map's elements and there is no `map`, or not such a one
   * @example
   * for await (const bytes of program.openIterator()) process.stdout.write(bytes);
   */
  openIterator(options: IteratorOptions = {}): BpfIterator {
    const attached = attachIterator(this, options);
    let iterator: BpfIterator | undefined;
    const link = this.#own(attached, () => iterator?.close()); // as where its object closes
    iterator = openIterator(link, attached.native, this.name);
    return iterator;
  }

  /**
   * Attaches to a cgroup (v2), by its folder: to sockets of its processes and of those below it, beside what others
   * have there. Kernel 5.7.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_CGROUP` where the path is no cgroup v2 folder, `ERR_EBPF_PROGRAM_TYPE`;
   *   `ERR_EBPF_NO_TARGET` where neither SEC() nor `attachType` says what to attach to
   * @throws EbpfPermissionError without CAP_NET_ADMIN
   * @example
   * using link = object.program('count_egress').attachCgroup('/sys/fs/cgroup/system.slice');
   */
  attachCgroup(path: string, options: CgroupOptions = {}): BpfLink {
    const what = `attach ${this.name} to cgroup ${path}`;
    checkCgroupProgram(what, this, path, options);
    return this.#link(
      path,
      'fd',
      () => this.native.attachCgroup(path, options.attachType),
      (error) => cgroupFailure(what, this.name, path, error),
    );
  }

  /**
   * Attaches a `SEC("socket")` program to an open socket of the caller's, which stays the caller's alone: closing it
   * ends the attachment. A socket has one filter; one that is there is never replaced. The kernel does not tell whose
   * program a socket has: state() is `attached` while it has one.
   *
   * @throws EbpfAttachError ENOTSOCK, EBADF; EEXIST where the socket has a filter; `ERR_EBPF_PROGRAM_TYPE`
   */
  attachSocket(fd: number): BpfLink {
    const what = `attach ${this.name} to descriptor ${fd}`;
    checkSocketProgram(what, this, fd);
    return this.#link(
      `descriptor ${fd}`,
      'socket',
      () => this.native.attachSocket(fd),
      (error) => socketFailure(what, this.name, fd, error),
    );
  }

  #attach(at: SectionTarget, attempt: () => NativeLink): BpfLink {
    return this.#link(at.target, 'fd', attempt, (error) =>
      attachFailure(`attach ${this.name} to ${at.target}`, this.name, at, error),
    );
  }

  #link(
    target: string,
    owner: 'fd' | 'socket',
    attempt: () => NativeLink,
    failure: (error: unknown) => EbpfError,
  ): BpfLink {
    try {
      return this.#own({ native: attempt(), target, owner });
    } catch (error) {
      throw isNativeFailure(error) ? failure(error) : error;
    }
  }

  #own({ native: nativeLink, target, owner = 'fd' }: Attached, ended?: () => void): BpfLink {
    const links = this.#owner.links;
    try {
      const kind = nativeLink.info().type;
      const onClose = (closed: BpfLink) => {
        links.delete(closed);
        ended?.();
      };
      const init = { native: nativeLink, program: this, kind, target, owner };
      const link = new BpfLink({ ...init, onClose });
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
    const links = this.#owner.links;
    const link = attachXdp(this, options, (closed) => links.delete(closed));
    links.add(link);
    return link;
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
      return this.native.run(options.data, options.dataOut, options.ctx, options.repeat ?? 0, options.cpu);
    } catch (error) {
      const { words, options: failed } = describeFailure(error, `program ${this.name}`);
      const message = `run ${this.name} (${this.type}): ${words}`;
      if (failed.code === 'ENOTSUPP' || failed.code === 'EOPNOTSUPP') {
        throw new EbpfNotSupportedError(message, { ...failed, feature: `test run of ${this.type}` });
      }
      throw new EbpfError(message, failed);
    }
  }

  /** What the kernel has counted of it. */
  stats(): ProgramStats {
    try {
      return this.native.stats();
    } catch (error) {
      const { words, options: failed } = describeFailure(error, `program ${this.name}`);
      throw new EbpfError(`query ${this.name}: ${words}`, failed);
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

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
