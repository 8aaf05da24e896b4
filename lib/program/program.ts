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

/** The kernel's counts for a program since it was loaded. */
export interface ProgramStats {
  /** Number of runs while enableStats() or kernel.bpf_stats_enabled=1 was in force; 0 otherwise. */
  runCount: number;
  /** Total time of those runs, in nanoseconds. */
  runTimeNs: number;
  /** Number of runs that were skipped because the program was running on that CPU already (kernel 5.12). */
  recursionMisses: number;
  /** Number of instructions that the verifier processed (kernel 5.16). */
  verifiedInstructions: number;
}

/** Options of run(). */
export interface RunOptions {
  /** The program's input: for XDP and TC a frame of at least 14 bytes. */
  data?: Bytes;
  /** Receives `data` as the program left it. */
  dataOut?: Bytes;
  /**
   * The context, if the type has one: a `struct xdp_md`, a `struct __sk_buff`, a raw tracepoint's arguments.
   */
  ctx?: Bytes;
  /** Number of runs. Default: 1. Raw tracepoint and syscall programs run once and accept no other number. */
  repeat?: number;
  /** The CPU to run on, for raw tracepoint programs only. */
  cpu?: number;
}

/** The result of run(). */
export interface RunResult {
  /** The program's return value: for XDP an `XDP_*` number, such as 2 for XDP_PASS. */
  retval: number;
  /** Mean time of one run, in nanoseconds. */
  durationNs: number;
  /** Size of `data` after the run, in bytes. A shorter `dataOut` has the first bytes. */
  dataOutSize: number;
}

/** A program in the kernel, as BpfProgram.list() returns it. */
export interface ProgramListing {
  /** The program's id, which BpfProgram.fromId() takes. */
  id: number;
  /** The program's name, of which the kernel keeps 15 characters. */
  name: string;
  /** The kernel's name of its type: `xdp`, `sched_cls`, … */
  type: string;
  /** The kernel's hash of its instructions. Several programs can have the same. */
  tag: string;
}

/** The part of an object that its programs use. @internal */
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
  /**
   * Its name in the object file, or if it was opened by pin or id, the 15 characters that the kernel keeps.
   */
  readonly name: string;
  /** Its SEC(), empty if the program was opened by pin or id. */
  readonly section: string;
  /** The kernel's name of its type: `xdp`, `sched_cls`, `raw_tracepoint`, … */
  readonly type: string;
  /** The id that the kernel gave the program. */
  readonly id: number;
  /** The kernel's hash of its instructions. */
  readonly tag: string;
  /** The file descriptor of this handle. After close(), another file may get the same number. */
  readonly fd: number;
  /** The verifier's log, if it was requested at load. */
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

  /** The links that close with the program's object. @internal */
  get links(): Set<BpfLink> {
    return this.#owner.links;
  }

  /**
   * Opens a pinned program.
   *
   * @throws EbpfError `ERR_EBPF_PIN_KIND` if something else is pinned there; ENOENT, `ERR_EBPF_NO_BPFFS`
   */
  static fromPin(path: string): BpfProgram {
    return BpfProgram.#opened(openPin(path, 'program').handle);
  }

  /**
   * Opens a program of any process by its id.
   *
   * @throws EbpfError ENOENT if there is none
   * @throws EbpfPermissionError without CAP_SYS_ADMIN
   */
  static fromId(id: number): BpfProgram {
    return BpfProgram.#opened(openId('program', id, () => native().programById(id)));
  }

  /**
   * Lists all programs on this machine, of every process.
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
   * Attaches the program to the target that its SEC() names: `tp/sched/sched_switch`, `raw_tp/sys_enter`,
   * `kprobe/do_unlinkat`, `uprobe/libc.so.6:malloc`, `usdt/./server:app:request`, `iter/task`, …
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_TARGET` if the section names none, `ERR_EBPF_NO_TRACEPOINT`,
   *   `ERR_EBPF_NO_FUNCTION`, `ERR_EBPF_NO_SYMBOL`, `ERR_EBPF_NO_USDT`
   * @throws EbpfNotSupportedError if the kernel lacks the feature, or tracefs is not mounted
   * @throws EbpfPermissionError naming the capabilities that the process lacks
   * @example
   * using object = await loadObject('trace.bpf.o');
   * using link = object.program('on_switch').attach();
   */
  attach(): BpfLink {
    const at = sectionTarget(this);
    const parsed = parseSection(this, at);
    if (parsed) return this.#attachTo(parsed);
    if (this.#hasObject) return this.#attach(at, () => this.native.attach());
    // libbpf attaches only programs that it has loaded. For a tracing program, the kernel knows the target
    // from the load.
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
   * Attaches to a tracepoint, by its two names below events/ in tracefs.
   *
   * @param options.cookie the value that bpf_get_attach_cookie() returns in the program (kernel 5.15)
   * @throws EbpfAttachError `ERR_EBPF_NO_TRACEPOINT` with the nearest names
   * @throws EbpfNotSupportedError if tracefs is not mounted, and for a cookie before kernel 5.15
   */
  attachTracepoint(category: string, name: string, options: { cookie?: bigint } = {}): BpfLink {
    const what = `attach ${this.name} to ${category}/${name}`;
    requireCookies(what, options.cookie);
    const number = tracepointNumber(what, category, name);
    const at = { kind: 'tracepoint', target: `${category}/${name}` };
    return this.#attach(at, () => this.native.attachTracepoint(number, options.cookie));
  }

  /**
   * Attaches to a raw tracepoint, which passes the arguments without making a record: cheaper, and without
   * tracefs.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_TRACEPOINT`
   */
  attachRawTracepoint(name: string): BpfLink {
    return this.#attach({ kind: 'raw_tracepoint', target: name }, () =>
      this.native.attachRawTracepoint(name),
    );
  }

  /**
   * Attaches to a function of the kernel. Of several names, it takes the first that the kernel has, as
   * functions are renamed between versions: the link's `target` is that name.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names; EINVAL if the kernel does not allow
   *   probes on the function; EILSEQ if `offset` is not at the start of an instruction
   * @throws EbpfNotSupportedError `kprobes` if the kernel has none
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
   * @param fns names, or a pattern with `*` and `?`, which needs tracefs
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names, if one is missing or nothing matches
   * @throws EbpfNotSupportedError `kprobe.multi`, `tracefs`
   * @example
   * using link = program.attachKprobeMulti({ pattern: 'tcp_v4_*' });
   */
  attachKprobeMulti(fns: readonly string[] | { pattern: string }, options: KprobeMultiOptions = {}): BpfLink {
    return this.#own(attachKprobeMulti(this, fns, options));
  }

  /**
   * Attaches to the kernel function of a system call (`openat`), whose name depends on the architecture.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_FUNCTION` with near names
   * @throws EbpfNotSupportedError `kprobes` if the kernel has none
   */
  attachSyscall(name: string, options: { ret?: boolean } = {}): BpfLink {
    return this.#own(attachSyscall(this, name, options.ret ?? false));
  }

  /**
   * Attaches to a function of a program or shared library, or to an offset in its file.
   *
   * @throws EbpfAttachError ENOENT if there is no such file, `ERR_EBPF_NOT_ELF`, `ERR_EBPF_NO_SYMBOL` with
   *   near names, `ERR_EBPF_AMBIGUOUS` with the offsets if several functions have the name
   * @example
   * using link = program.attachUprobe({ binary: 'libc.so.6', symbol: 'malloc', pid: 1234 });
   */
  attachUprobe(options: UprobeOptions): BpfLink {
    return this.#own(attachUprobe(this, options));
  }

  /**
   * Attaches a `SEC("usdt")` program to a probe in the source code of a program (sys/sdt.h).
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_USDT` with near names; ENOENT, `ERR_EBPF_NOT_ELF`;
   *   `ERR_EBPF_NO_OBJECT` for a program that was opened by pin or id
   * @example
   * using link = program.attachUsdt({ binary: '/usr/bin/postgres', provider: 'postgresql', name: 'query__start' });
   */
  attachUsdt(options: UsdtOptions): BpfLink {
    return this.#own(attachUsdt(this, options));
  }

  /**
   * Runs the program at a frequency, with one link for all CPUs unless `cpu` is given. Only a link for a
   * single CPU, or for a process with a single thread, can be pinned.
   *
   * @throws EbpfNotSupportedError `hardware counters` if the machine has none for `cycles` or `instructions`
   * @throws EbpfAttachError ESRCH if there is no such process; EINVAL above
   *   kernel.perf_event_max_sample_rate; ENODEV if the CPU is not online
   * @example
   * using link = program.attachPerfEvent({ event: 'cpu-clock', frequency: 99 });
   */
  attachPerfEvent(options: PerfEventOptions): BpfLink {
    return this.#own(attachPerfEvent(this, options));
  }

  /**
   * Attaches a `SEC("sk_lookup")` (kernel 5.9) or `SEC("flow_dissector")` program to a network namespace, by
   * its path or by a descriptor, which can be closed afterwards.
   *
   * @throws EbpfAttachError ENOENT; EINVAL if it is not a network namespace; EEXIST if it has a flow
   *   dissector
   */
  attachNetns(netns: string | number): BpfLink {
    return this.#own(attachNetns(this, netns));
  }

  /**
   * Attaches a `SEC("netfilter")` program to a hook of the network stack. Kernel 6.4.
   *
   * @throws EbpfAttachError EBUSY if the priority is taken
   * @throws EbpfNotSupportedError `netfilter`
   * @example
   * using link = program.attachNetfilter({ pf: 'ipv4', hooknum: 'local_in', priority: -128 });
   */
  attachNetfilter(options: NetfilterOptions): BpfLink {
    return this.#own(attachNetfilter(this, options));
  }

  /**
   * Attaches a `SEC("sk_skb/…")` or `SEC("sk_msg")` program to a map of sockets: to the sockets in it and
   * those added later. A map has one program of each kind, which is never replaced.
   *
   * Linux 5.10 (seen on Debian's 5.10.0-32) hangs for good if a parser is attached and its verdict passes a
   * message: it takes `sk_callback_lock` a second time in `sk_psock_skb_ingress_enqueue()`.
   *
   * @throws EbpfAttachError EBUSY or EEXIST if the map has such a program; `ERR_EBPF_MAP_TYPE`,
   *   `ERR_EBPF_PROGRAM_TYPE`, `ERR_EBPF_NO_TARGET`
   */
  attachSockmap(map: BpfMap, options: SockmapOptions = {}): BpfLink {
    return this.#own(attachSockmap(this, map, options));
  }

  /**
   * Runs a `SEC("iter/…")` program over the kernel's objects, and returns an iterator over its output. Kernel
   * 5.8. attach() returns only the link, which can be pinned: each read of the pin runs the program.
   *
   * @throws EbpfAttachError if the program iterates over a map's elements and `map` is missing or does not
   *   fit
   * @example
   * for await (const bytes of program.openIterator()) process.stdout.write(bytes);
   */
  openIterator(options: IteratorOptions = {}): BpfIterator {
    const attached = attachIterator(this, options);
    let iterator: BpfIterator | undefined;
    const link = this.#own(attached, () => iterator?.close()); // for when the object closes
    iterator = openIterator(link, attached.native, this.name);
    return iterator;
  }

  /**
   * Attaches to a cgroup v2 directory: to the sockets of its processes and of those below it, in addition to
   * the programs that are there. Kernel 5.7.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_CGROUP` if the path is not a cgroup v2 directory,
   *   `ERR_EBPF_PROGRAM_TYPE`; `ERR_EBPF_NO_TARGET` if neither SEC() nor `attachType` names the attach type
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
   * Attaches a `SEC("socket")` program to an open socket. The socket remains the caller's, and closing it
   * ends the attachment. A socket has one filter, which is never replaced. The kernel does not report which
   * program a socket has: state() is `attached` while it has any.
   *
   * @throws EbpfAttachError ENOTSOCK, EBADF; EEXIST if the socket has a filter; `ERR_EBPF_PROGRAM_TYPE`
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
   * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`, `ERR_EBPF_INTERFACE_DOWN`; `EBUSY` or `EEXIST` with the
   *   `holder` if another program is attached; `EOPNOTSUPP` or `EINVAL` if the driver does not support the
   *   mode
   * @throws EbpfPermissionError without CAP_NET_ADMIN
   */
  attachXdp(options: NetTarget & XdpOptions): XdpLink {
    const links = this.#owner.links;
    const link = attachXdp(this, options, (closed) => links.delete(closed));
    links.add(link);
    return link;
  }

  /**
   * Attaches a TC program (`SEC("tc")`) to an interface's ingress or egress, in addition to the programs that
   * are there.
   *
   * @throws EbpfAttachError `ERR_EBPF_NO_INTERFACE`, `ERR_EBPF_INTERFACE_DOWN`, `ERR_EBPF_PROGRAM_TYPE`;
   *   `EEXIST` with the `holder` if the priority and handle are taken, or TCX has this program there already;
   *   `ENOENT` if `order` names a program or link that is not there
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
   * Runs the program once, or `repeat` times, on `data` (BPF_PROG_TEST_RUN). For XDP and TC the frame is not
   * sent anywhere. The program's changes to maps are real.
   *
   * @throws EbpfNotSupportedError for a program type that the kernel cannot test-run
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

  /** Returns the kernel's counts for the program. */
  stats(): ProgramStats {
    try {
      return this.native.stats();
    } catch (error) {
      const { words, options: failed } = describeFailure(error, `program ${this.name}`);
      throw new EbpfError(`query ${this.name}: ${words}`, failed);
    }
  }

  /**
   * Pins the program to a path in the BPF file system, which keeps it loaded after the last handle is closed.
   *
   * @throws EbpfError EEXIST if the path exists, `ERR_EBPF_PIN_NAME`, `ERR_EBPF_NO_BPFFS`
   */
  pin(path: string): void {
    pin(this.native, `program ${this.name}`, path);
  }

  /** Closes the handle. The program stays loaded as long as a link, a pin or another handle holds it. */
  close(): void {
    closedInTime(this);
    this.native.close();
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }
}
