import { EventEmitter } from 'node:events';
import type { TcDirection, TcOptions } from '../attach/tc.ts';
import { EbpfAttachError, EbpfError, EbpfPermissionError, EbpfStateError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import type { Iface, NetTarget } from '../kernel/interfaces.ts';
import type { LoadOptions } from '../object/load-options.ts';
import { type BpfObject, loadBytes } from '../object/object.ts';
import { checkedInfo } from '../object-file/checked.ts';
import { chooseProgram, type ProgramType } from '../object-file/program-type.ts';
import { inFolder, objectFiles, readSource, type Source } from '../object-file/source.ts';
import type { BpfProgram } from '../program/program.ts';
import type { AttachMode, NegotiatedXdpOptions } from '../program/xdp-negotiation.ts';
import { type Attachment, isHookAt, type Recorded, recordedAt } from './attachment.ts';
import { type Attempt, sectionAttempt, tcAttempt, xdpAttempt } from './attempt.ts';
import { type HealthReport, healthOf } from './health.ts';
import {
  type Entry,
  isAttached,
  type LoadedProgram,
  placeOf,
  replacedError,
  snapshot,
  untilGone,
} from './loaded.ts';
import type { PinFolder } from './pin-folder.ts';
import { PinRoot } from './pin-root.ts';
import { openFolder, placeWords, recoverHooks, refuseReplaced } from './recover.ts';
import { type AttachErrors, type LoaderStats, loaderStats } from './stats.ts';

/** Where a loader looks for programs, where it pins, and whom it tells. */
export interface LoaderOptions {
  /** Paths are resolved in it, and a path that leads out of it is refused. */
  programsDir?: string;
  /**
   * A folder in a BPF file system, made where it is absent, for what is to outlive the process: `pin`, `persist`,
   * recover(). docs/lifecycle.md has its layout.
   */
  pinRoot?: string;
  /** Hears each load, attach, detach and unload by `info`, and each `warning` by `warn`. Default: nobody. */
  logger?: Pick<Console, 'debug' | 'info' | 'warn'>;
}

/** What an EbpfLoader emits, while the call that it comes of is at work. */
export interface LoaderEvents {
  /** A program was loaded, or recovered. */
  loaded: [LoadedProgram];
  /** An attachment was made, or recovered. */
  attached: [Attachment];
  /** An attachment is no more: taken off, or found to have been from outside. Its link is closed. */
  detached: [Attachment];
  /** unloadProgram() has done its work. close() emits none, but `detached` for what it takes off. */
  unloaded: [LoadedProgram];
  /** One sentence about what a caller may want to know, and is no error. */
  warning: [string];
}

/** What a load, and an attachment, can be told beyond its own options. */
export interface PinOption {
  /** Pin it under `pinRoot`, so that it outlives the process and recover() finds it. Default false. */
  pin?: boolean;
}

/**
 * Keeps programs from load to unload: load → attach → detach → unload. Every move that does not fit the state is an
 * error, and nothing that somebody else attached is ever touched.
 *
 * Events: `loaded`, `attached`, `detached`, `unloaded`, `warning`. Errors are thrown, never emitted.
 *
 * @example
 * await using loader = new EbpfLoader();
 * const handle = await loader.loadProgram('xdp_counter.bpf.o', ProgramType.XDP);
 * const { mode } = await loader.attachToInterface(handle, 'eth0', AttachMode.DRV);
 * await loader.detachFromInterface(handle, 'eth0');
 * await loader.unloadProgram(handle);
 */
export class EbpfLoader extends EventEmitter<LoaderEvents> implements AsyncDisposable {
  readonly #entries = new Map<string, Entry>();
  readonly #programsDir: string | undefined;
  readonly #pins: PinRoot;
  readonly #logger: LoaderOptions['logger'];
  readonly #errors: Record<string, number> = {};
  readonly #attachErrors: AttachErrors[] = [];
  #closed = false;

  constructor(options: LoaderOptions = {}) {
    super();
    this.#programsDir = options.programsDir;
    this.#pins = new PinRoot(options.pinRoot);
    this.#logger = options.logger;
  }

  /**
   * Loads one program of an object file and gives its handle. Two loads of one file are two instances, each with its
   * own maps. With `pin`, the program and its maps are pinned under `pinRoot`.
   *
   * @param type what the program must be; also which one, where the file holds several kinds
   * @throws EbpfValidationError where the file is no loadable object, before any system call on it
   * @throws EbpfLoadError `ERR_EBPF_PROGRAM_TYPE` where none fits, `ERR_EBPF_AMBIGUOUS` where several do; or what the
   *   verifier says
   */
  async loadProgram(
    source: Source,
    type?: ProgramType,
    options: LoadOptions & PinOption & { program?: string } = {},
  ): Promise<string> {
    return this.#counting(async () => {
      this.#checkOpen();
      const { program: named, pin = false, ...rest } = options;
      options.signal?.throwIfAborted();
      if (pin) this.#pins.require();
      const read = await readSource(await inFolder(this.#programsDir, source));
      const info = checkedInfo(read);
      const wanted = chooseProgram(read.place, info, type, named);
      const object = await loadBytes(read, info, rest);
      const [handle = ''] = this.#register(object, read.place, [object.program(wanted.name)], pin);
      return handle;
    });
  }

  /**
   * Loads every `.o` file of a folder, in the order of their names, and of each file every program, on shared maps. What
   * does not load is told, and does not keep the others from it.
   *
   * @param dir default: `programsDir`
   * @throws EbpfError ENOENT, ENOTDIR, EACCES where the folder cannot be read
   * @example
   * const { loaded, failed } = await loader.loadDirectory('/usr/lib/bpf');
   */
  async loadDirectory(dir: string | undefined = this.#programsDir): Promise<{
    /** The handles of what was loaded, file by file. */
    loaded: string[];
    /** The files that did not load. */
    failed: {
      /** In the folder that was read. */
      path: string;
      /** Why not. */
      error: EbpfError;
    }[];
  }> {
    this.#checkOpen();
    if (dir === undefined) throw new TypeError('Expected a folder for dir, or programsDir in the loader');
    const loaded: string[] = [];
    const failed: { path: string; error: EbpfError }[] = [];
    for (const path of await objectFiles(this.#programsDir, dir)) {
      try {
        const handles = await this.#counting(async () => {
          const read = await readSource(await inFolder(this.#programsDir, path));
          const object = await loadBytes(read, checkedInfo(read), {});
          return this.#register(object, read.place, Object.values(object.programs), false);
        });
        loaded.push(...handles);
      } catch (error) {
        if (!(error instanceof EbpfError) || this.#closed) throw error;
        failed.push({ path, error });
      }
    }
    return { loaded, failed };
  }

  #register(object: BpfObject, source: string, programs: readonly BpfProgram[], pin: boolean): string[] {
    try {
      this.#checkOpen();
      return programs.map((program) => {
        const entry: Entry = {
          handle: this.#freeHandle(program.name),
          program,
          object,
          state: 'loaded',
          source,
          attachments: [],
        };
        if (pin) this.#pins.add(entry);
        this.#loadedEntry(entry, 'loaded');
        return entry.handle;
      });
    } catch (error) {
      object.close();
      throw error;
    }
  }

  #loadedEntry(entry: Entry, verb: string): void {
    const { handle, program, source } = entry;
    this.#entries.set(handle, entry);
    this.#logger?.info(
      `${verb} ${program.name} (${program.type}, id ${program.id}) from ${source} as ${handle}`,
    );
    this.emit('loaded', snapshot(entry));
  }

  // One that is pinned bears the name of its folder, wherever that is free here.
  #freeHandle(name: string, first = `${name}-1`): string {
    let handle = first;
    for (let number = 1; this.#entries.has(handle); number++) handle = `${name}-${number}`;
    return handle;
  }

  /**
   * Attaches a program to an interface, which is set up where it is down (with a `warning`): XDP, or TC on ingress, by
   * the program's type. `mode` is where XDP's negotiation starts; the default is generic XDP, which every interface
   * has. Attaching where the program is attached already gives the same Attachment.
   *
   * @throws EbpfAttachError `ERR_EBPF_NOT_LOADED`, `ERR_EBPF_NO_INTERFACE`, EBUSY or EEXIST with the `holder`
   */
  async attachToInterface(handle: string, iface: Iface, mode: AttachMode = 'skb'): Promise<Attachment> {
    return this.#counting(
      () =>
        this.#loaded(handle, String(iface)).program.type === 'sched_cls'
          ? this.#attachTc(handle, { iface, direction: 'ingress' })
          : this.#attachXdp(handle, { iface, mode }),
      String(iface),
    );
  }

  /**
   * attachToInterface() with every option of XDP. `mode` defaults to drv, then skb. With `pin` (or `persist`, which says
   * the same here), the attachment outlives the process.
   */
  async attachXdp(
    handle: string,
    options: NetTarget & NegotiatedXdpOptions & PinOption,
  ): Promise<Attachment> {
    return this.#counting(() => this.#attachXdp(handle, options), String(options.iface));
  }

  /** attachToInterface() with every option of TC; `pin` as in attachXdp(). */
  async attachTc(handle: string, options: NetTarget & TcOptions & PinOption): Promise<Attachment> {
    return this.#counting(() => this.#attachTc(handle, options), String(options.iface));
  }

  #attachXdp(handle: string, options: NetTarget & NegotiatedXdpOptions & PinOption): Attachment {
    const { pin, persist, ...rest } = options;
    const entry = this.#current(handle, String(rest.iface), 'xdp');
    return this.#attach(entry, xdpAttempt(entry, rest), pin || persist);
  }

  #attachTc(handle: string, options: NetTarget & TcOptions & PinOption): Attachment {
    const { pin, persist, ...rest } = options;
    const entry = this.#current(handle, String(rest.iface), 'sched_cls');
    return this.#attach(entry, tcAttempt(entry, rest), pin || persist);
  }

  /**
   * Attaches a program where its SEC() says. Attaching again gives the same Attachment. With `pin`, it outlives the
   * process.
   *
   * @throws EbpfAttachError `ERR_EBPF_NOT_LOADED`, `ERR_EBPF_NO_TARGET`, `ERR_EBPF_NO_TRACEPOINT`
   * @throws EbpfNotSupportedError where the kernel lacks what it takes
   */
  async attach(handle: string, options: PinOption = {}): Promise<Attachment> {
    return this.#counting(() => {
      const entry = this.#current(handle, handle);
      return this.#attach(entry, sectionAttempt(entry), options.pin);
    }, '');
  }

  #attach(entry: Entry, { at, existing, down, make }: Attempt, pin: boolean | undefined): Attachment {
    if (existing && isAttached(existing.link)) {
      if (pin && !existing.link.outlivesProcess) this.#pins.keep(entry, at, () => existing);
      return existing;
    }
    if (existing) this.#drop(entry, existing);
    const attach = (): Recorded => {
      if (down) this.#warn(`${at.iface} is down: setting it up`);
      return { ...at, ...make(), handle: entry.handle, attachedAt: new Date() };
    };
    const attachment = pin ? this.#pins.keep(entry, at, attach) : attach();
    entry.lost = entry.lost?.filter(({ hook }) => hook !== attachment.pinnedAs) ?? [];
    entry.attachments.push(attachment);
    entry.state = 'attached';
    this.#say('attached', entry, attachment);
    this.emit('attached', attachment);
    return attachment;
  }

  /**
   * Takes over what is pinned under `pinRoot`: programs with their maps, and of their attachments those that the kernel
   * says are there. No packet goes uncounted meanwhile: nothing is detached, loaded or attached. What is not as it was
   * left is told by a `warning` each, and stays.
   *
   * @returns the attachments that this loader did not have
   * @throws EbpfError `ERR_EBPF_NO_PIN_ROOT`
   * @throws EbpfPermissionError where a pin may not be opened
   * @example
   * const loader = new EbpfLoader({ pinRoot: '/sys/fs/bpf/my-app' });
   * for (const { handle, iface } of await loader.recover()) console.log(handle, iface);
   */
  async recover(): Promise<Attachment[]> {
    return this.#counting(() => {
      this.#checkOpen();
      const known = new Map([...this.#entries.values()].map((entry) => [entry.folder?.path, entry]));
      return this.#pins.folders().flatMap((folder) => {
        const entry = known.get(folder.path) ?? this.#recoverFolder(folder);
        return entry ? this.#recoverHooks(entry, folder) : [];
      });
    });
  }

  #recoverFolder(folder: PinFolder): Entry | undefined {
    try {
      const opened = openFolder(folder);
      const entry: Entry = { ...opened, handle: this.#freeHandle(opened.program.name, folder.name) };
      this.#loadedEntry(entry, 'recovered');
      return entry;
    } catch (error) {
      if (!(error instanceof EbpfError) || error instanceof EbpfPermissionError) throw error;
      this.#warn(error.message);
      return undefined;
    }
  }

  #recoverHooks(entry: Entry, folder: PinFolder): Attachment[] {
    const { found, lost } = recoverHooks(entry, folder);
    for (const { hook, words } of lost) {
      if (!entry.lost?.some((known) => known.hook === hook)) this.#warn(words);
    }
    entry.lost = lost;
    for (const attachment of found) {
      entry.attachments.push(attachment);
      entry.state = 'attached';
      this.#say('recovered', entry, attachment);
      this.emit('attached', attachment);
    }
    return found;
  }

  /**
   * Takes a program off an interface: off every hook of it that the program is on, or off TC's ingress or egress alone
   * with `direction`. False, with a `warning`, where this loader has nothing attached there.
   *
   * @throws EbpfAttachError where others are attached there but not this program; `ERR_EBPF_REPLACED` where the hook
   *   holds another program now, which stays
   */
  async detachFromInterface(
    handle: string,
    at: Iface | (NetTarget & { direction?: TcDirection }),
  ): Promise<boolean> {
    return this.#counting(() => {
      const target = typeof at === 'object' ? at : { iface: at };
      const entry = this.#current(handle, String(target.iface));
      const attachments = recordedAt(entry.attachments, target);
      if (attachments.length === 0) return this.#forgetLost(entry, target) || this.#notThere(handle, target);
      for (const attachment of attachments) this.#detach(entry, attachment);
      return true;
    });
  }

  // What recover() found gone is detached by forgetting it.
  #forgetLost(entry: Entry, target?: NetTarget & { direction?: TcDirection }): boolean {
    const lost = entry.lost?.filter(({ hook }) => isHookAt(hook, target)) ?? [];
    refuseReplaced(entry, lost);
    for (const { hook } of lost) {
      this.#warn(`detach ${entry.handle} from ${placeWords(hook)}: it was detached already, from outside`);
      this.#pins.forgetLost(entry, hook);
    }
    if (lost.length > 0) entry.lost = entry.lost?.filter((other) => !lost.includes(other)) ?? [];
    return lost.length > 0;
  }

  #notThere(handle: string, target: NetTarget): false {
    const others = this.getInterfacePrograms(target).map((attachment) => attachment.handle);
    if (others.length > 0) {
      throw new EbpfAttachError(`detach ${handle} from ${target.iface}: it is not attached there`, {
        code: 'ERR_EBPF_NOT_ATTACHED',
        target: String(target.iface),
        hint: `attached there: ${others.join(', ')}`,
      });
    }
    this.#warn(`detach ${handle} from ${target.iface}: nothing of this loader is attached there`);
    return false;
  }

  /**
   * Undoes attach(). False, with a `warning`, where the program is not attached by its SEC().
   *
   * @throws EbpfAttachError `ERR_EBPF_REPLACED` where the hook holds another program now, which stays
   */
  async detach(handle: string): Promise<boolean> {
    return this.#counting(() => {
      const entry = this.#current(handle, handle);
      const attachment = entry.attachments.find(({ iface }) => iface === undefined);
      if (attachment) {
        this.#detach(entry, attachment);
        return true;
      }
      if (this.#forgetLost(entry)) return true;
      this.#warn(`detach ${handle}: it is not attached by its SEC()`);
      return false;
    });
  }

  /**
   * Unloads a program, with its pins, and resolves once the kernel no longer knows its id. False, with a `warning`, for a
   * handle that is not loaded.
   *
   * @throws EbpfAttachError `ERR_EBPF_STILL_ATTACHED` listing the interfaces; `force` detaches first
   */
  async unloadProgram(handle: string, options: { force?: boolean } = {}): Promise<boolean> {
    return this.#counting(async () => {
      const entry = this.#entries.get(handle);
      if (!entry) {
        this.#warn(`unload ${handle}: not loaded`);
        return false;
      }
      this.#refresh(entry);
      if (entry.attachments.length > 0) {
        const places = entry.attachments.map((attachment) => placeOf(entry, attachment));
        const interfaces = [...new Set(places)].join(', ');
        if (options.force !== true) {
          throw new EbpfAttachError(`unload ${handle}: still attached to ${interfaces}`, {
            code: 'ERR_EBPF_STILL_ATTACHED',
            target: interfaces,
            hint: 'detach it first, or pass force: true',
          });
        }
        for (const attachment of [...entry.attachments]) this.#detach(entry, attachment);
      }
      refuseReplaced(entry, entry.lost);
      this.#pins.remove(entry);
      entry.state = 'unloaded';
      this.#entries.delete(handle);
      const shared = [...this.#entries.values()].some(({ object }) => object === entry.object);
      if (shared) entry.program.close();
      else entry.object.close();
      await this.#untilGone(entry);
      this.#logger?.info(`unloaded ${handle}`);
      this.emit('unloaded', snapshot(entry));
      return true;
    });
  }

  /** Every program that is loaded, in the order of the loads. */
  listLoadedPrograms(): LoadedProgram[] {
    return [...this.#entries.values()].map(snapshot);
  }

  /** The program as it is now; undefined for a handle that is not loaded. */
  getProgram(handle: string): LoadedProgram | undefined {
    const entry = this.#entries.get(handle);
    return entry && snapshot(entry);
  }

  /** What this loader has attached to an interface, of the process's own namespace unless `netns` names another. */
  getInterfacePrograms(at: Iface | NetTarget): Attachment[] {
    const target = typeof at === 'object' ? at : { iface: at };
    return [...this.#entries.values()].flatMap((entry) => recordedAt(entry.attachments, target));
  }

  /**
   * What the kernel has counted: of one program, or of all.
   *
   * @throws EbpfAttachError `ERR_EBPF_NOT_LOADED`
   */
  getStats(handle?: string): LoaderStats {
    this.#checkOpen();
    const entries = handle === undefined ? [...this.#entries.values()] : [this.#loaded(handle, handle)];
    return loaderStats(entries, this.#errors, this.#attachErrors);
  }

  /**
   * Asks the kernel about every attachment and every map: `degraded` where an attachment was replaced or removed behind
   * our back or a map is above 90 %, `unhealthy` where nothing is attached that should be. Counting the entries of a hash
   * takes some 0.4 µs each.
   *
   * @example
   * const { status, message, components } = loader.health();
   */
  health(): HealthReport {
    return healthOf([...this.#entries.values()], this.#closed);
  }

  /** health(), without another walk through maps that somebody has just read: their entries, by id. @internal */
  healthGiven(counted: ReadonlyMap<number, number>): HealthReport {
    return healthOf([...this.#entries.values()], this.#closed, counted);
  }

  /**
   * Detaches and unloads everything but what is pinned, which it leaves attached. Idempotent; the loader is unusable
   * afterwards.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      for (const attachment of [...entry.attachments]) {
        if (attachment.link.outlivesProcess) attachment.link.close();
        else this.#drop(entry, attachment);
      }
      entry.state = 'unloaded';
      entry.object.close();
    }
    await Promise.all(entries.filter(({ folder }) => !folder).map((entry) => this.#untilGone(entry)));
  }

  /** close(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new EbpfStateError('the loader is closed', { state: 'closed' });
  }

  /** @param iface where it attaches, if that is what it does; '' where that is on no interface */
  async #counting<T>(work: () => T | Promise<T>, iface?: string): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof EbpfError) this.#count(error.code, iface);
      throw error;
    }
  }

  #count(code: string, iface: string | undefined): void {
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
    if (iface === undefined) return;
    const known = this.#attachErrors.find((entry) => entry.interface === iface && entry.code === code);
    if (known) known.count++;
    else this.#attachErrors.push({ interface: iface, code, count: 1 });
  }

  #loaded(handle: string, target: string, type?: string): Entry {
    this.#checkOpen();
    const entry = this.#entries.get(handle);
    if (!entry) {
      const names = nearest(handle, [...this.#entries.keys()]);
      throw new EbpfAttachError(`no program "${handle}" is loaded`, {
        code: 'ERR_EBPF_NOT_LOADED',
        target,
        hint: names.length > 0 ? `loaded: ${names.join(', ')}` : 'nothing is loaded',
      });
    }
    if (type !== undefined && entry.program.type !== type) {
      throw new EbpfAttachError(
        `attach ${handle} to ${target}: it is a ${entry.program.type} program, not ${type}`,
        { code: 'ERR_EBPF_PROGRAM_TYPE', target },
      );
    }
    return entry;
  }

  #current(handle: string, target: string, type?: string): Entry {
    const entry = this.#loaded(handle, target, type);
    this.#refresh(entry);
    return entry;
  }

  // Another process may have attached it since, or unloaded it.
  #refresh(entry: Entry): void {
    if (entry.folder?.whole === false) delete entry.folder;
    if (entry.folder) this.#recoverHooks(entry, entry.folder);
  }

  #detach(entry: Entry, attachment: Recorded): void {
    const { link } = attachment;
    const place = placeOf(entry, attachment);
    const state = link.closed ? 'detached' : link.state();
    if (state === 'replaced') throw replacedError(entry.handle, place, link.holder());
    if (state === 'detached') {
      this.#warn(`detach ${entry.handle} from ${place}: it was detached already, from outside`);
    } else {
      link.detach();
    }
    this.#drop(entry, attachment);
  }

  #drop(entry: Entry, attachment: Recorded): void {
    attachment.link.close();
    this.#pins.forget(entry, attachment);
    entry.attachments = entry.attachments.filter((other) => other !== attachment);
    entry.state = entry.attachments.length > 0 ? 'attached' : 'loaded';
    this.#say('detached', entry, attachment);
    this.emit('detached', attachment);
  }

  #say(verb: string, entry: Entry, attachment: Recorded): void {
    const mode = attachment.mode === undefined ? '' : ` (${attachment.mode})`;
    this.#logger?.info(`${verb} ${entry.handle}: ${placeOf(entry, attachment)}${mode}`);
  }

  #warn(message: string): void {
    this.#logger?.warn(message);
    this.emit('warning', message);
  }

  async #untilGone({ program }: Entry): Promise<void> {
    const left = await untilGone(program);
    if (left !== undefined) this.#warn(left);
  }
}
