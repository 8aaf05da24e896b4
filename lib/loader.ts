import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Attachment, type Hook, type Recorded, recordedAt } from './attachment.ts';
import { EbpfAttachError, EbpfStateError, isNativeFailure } from './errors.ts';
import { findInterface, type Iface, type NetTarget, netnsIdentity } from './interface.ts';
import type { BpfLink } from './link.ts';
import type { LoadOptions } from './load-options.ts';
import { native } from './native.ts';
import { nearest } from './nearest.ts';
import { type BpfObject, checkedInfo, loadBytes } from './object.ts';
import type { BpfProgram } from './program.ts';
import { chooseProgram, type ProgramType } from './program-type.ts';
import { inFolder, readSource, type Source } from './source.ts';
import type { TcDirection, TcOptions } from './tc.ts';
import { type AttachMode, type NegotiatedXdpOptions, negotiateXdp } from './xdp.ts';

/** A program in the loader. A snapshot: ask again after a call that changes it. */
export interface LoadedProgram {
  /** The name of the program in this loader; the kernel's number is `program.id`. */
  readonly handle: string;
  readonly program: BpfProgram;
  readonly object: BpfObject;
  readonly state: 'loaded' | 'attached' | 'unloaded';
  /** The kernel's word for the program's type. */
  readonly type: string;
  /** The file, or `<bytes>`. */
  readonly source: string;
  readonly attachments: readonly Attachment[];
}

export interface LoaderOptions {
  /** Paths are resolved in it, and a path that leads out of it is refused. */
  programsDir?: string;
  logger?: Pick<Console, 'debug' | 'info' | 'warn'>;
}

interface LoaderEvents {
  loaded: [LoadedProgram];
  attached: [Attachment];
  detached: [Attachment];
  unloaded: [LoadedProgram];
  warning: [string];
}

interface Entry {
  handle: string;
  program: BpfProgram;
  object: BpfObject;
  state: LoadedProgram['state'];
  source: string;
  attachments: Recorded[];
}

// RCU frees a program some milliseconds after its last reference went (raw tracepoints: some 300).
const GONE_WITHIN_MS = 2000;

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
  readonly #logger: LoaderOptions['logger'];
  #count = 0;
  #closed = false;

  constructor(options: LoaderOptions = {}) {
    super();
    this.#programsDir = options.programsDir;
    this.#logger = options.logger;
  }

  /**
   * Loads one program of an object file and gives its handle. Two loads of one file are two instances, each with its
   * own maps.
   *
   * @param type what the program must be; also which one, where the file holds several kinds
   * @throws EbpfValidationError where the file is no loadable object, before any system call on it
   * @throws EbpfLoadError `ERR_EBPF_PROGRAM_TYPE` where none fits, `ERR_EBPF_AMBIGUOUS` where several do; or what the
   *   verifier says
   */
  async loadProgram(
    source: Source,
    type?: ProgramType,
    options: LoadOptions & { program?: string } = {},
  ): Promise<string> {
    this.#checkOpen();
    const { program: named, ...rest } = options;
    const read = await readSource(await inFolder(this.#programsDir, source));
    const info = checkedInfo(read);
    const wanted = chooseProgram(read.place, info, type, named);
    const object = await loadBytes(read, info, rest);
    if (this.#closed) {
      object.close();
      this.#checkOpen();
    }
    const handle = `${wanted.name}-${++this.#count}`;
    const program = object.program(wanted.name);
    const entry: Entry = { handle, program, object, state: 'loaded', source: read.place, attachments: [] };
    this.#entries.set(handle, entry);
    this.#logger?.info(
      `loaded ${wanted.name} (${program.type}, id ${program.id}) from ${read.place} as ${handle}`,
    );
    this.emit('loaded', snapshot(entry));
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
    const { program } = this.#loaded(handle, String(iface));
    if (program.type === 'sched_cls') return this.attachTc(handle, { iface, direction: 'ingress' });
    return this.attachXdp(handle, { iface, mode });
  }

  /** attachToInterface() with every option of XDP. `mode` defaults to drv, then skb. */
  async attachXdp(handle: string, options: NetTarget & NegotiatedXdpOptions): Promise<Attachment> {
    const entry = this.#loaded(handle, String(options.iface), 'xdp');
    return this.#attach(entry, 'xdp', options, () => {
      const { link, tried } = negotiateXdp(entry.program, { bringUp: true, ...options }, 'drv');
      return { link, tried, requestedMode: options.mode ?? 'drv', mode: link.mode };
    });
  }

  /** attachToInterface() with every option of TC. */
  async attachTc(handle: string, options: NetTarget & TcOptions): Promise<Attachment> {
    const entry = this.#loaded(handle, String(options.iface), 'sched_cls');
    return this.#attach(entry, `tc-${options.direction}`, options, () => ({
      link: entry.program.attachTc({ bringUp: true, ...options }),
      tried: [],
    }));
  }

  #attach(
    entry: Entry,
    hook: Hook,
    options: NetTarget & { bringUp?: boolean },
    work: () => Pick<Attachment, 'link' | 'tried' | 'requestedMode' | 'mode'>,
  ): Attachment {
    const found = findInterface(options);
    const at = { ...options, iface: found.ifindex };
    const existing = recordedAt(entry.attachments, at).find((attachment) => attachment.hook === hook);
    if (existing && isAttached(existing.link)) return existing;
    if (existing) this.#drop(entry, existing);
    if (!found.up && options.bringUp !== false) this.#warn(`${found.name} is down: setting it up`);
    const netnsId = netnsIdentity(options.netns);
    const attachment: Recorded = {
      ...{ handle: entry.handle, hook, iface: found.name, ifindex: found.ifindex, netnsId },
      ...(options.netns === undefined ? {} : { netns: String(options.netns) }),
      ...{ ...work(), attachedAt: new Date() },
    };
    return this.#attached(entry, attachment);
  }

  /**
   * Attaches a program where its SEC() says. Attaching again gives the same Attachment.
   *
   * @throws EbpfAttachError `ERR_EBPF_NOT_LOADED`, `ERR_EBPF_NO_TARGET`, `ERR_EBPF_NO_TRACEPOINT`
   * @throws EbpfNotSupportedError where the kernel lacks what it takes
   */
  async attach(handle: string): Promise<Attachment> {
    const entry = this.#loaded(handle, handle);
    const existing = entry.attachments.find(({ iface }) => iface === undefined);
    if (existing && isAttached(existing.link)) return existing;
    if (existing) this.#drop(entry, existing);
    const link = entry.program.attach();
    return this.#attached(entry, { handle, link, hook: link.kind, tried: [], attachedAt: new Date() });
  }

  #attached(entry: Entry, attachment: Recorded): Attachment {
    entry.attachments.push(attachment);
    entry.state = 'attached';
    const mode = attachment.mode === undefined ? '' : ` (${attachment.mode})`;
    this.#logger?.info(`attached ${entry.handle} to ${placeOf(entry, attachment)}${mode}`);
    this.emit('attached', attachment);
    return attachment;
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
    const target = typeof at === 'object' ? at : { iface: at };
    const entry = this.#loaded(handle, String(target.iface));
    const attachments = recordedAt(entry.attachments, target);
    if (attachments.length === 0) {
      const others = [...this.#entries.values()].filter(
        (other) => recordedAt(other.attachments, target).length > 0,
      );
      if (others.length > 0) {
        throw new EbpfAttachError(`detach ${handle} from ${target.iface}: it is not attached there`, {
          code: 'ERR_EBPF_NOT_ATTACHED',
          target: String(target.iface),
          hint: `attached there: ${others.map((other) => other.handle).join(', ')}`,
        });
      }
      this.#warn(`detach ${handle} from ${target.iface}: nothing of this loader is attached there`);
      return false;
    }
    for (const attachment of attachments) this.#detach(entry, attachment);
    return true;
  }

  /**
   * Unloads a program, and resolves once the kernel no longer knows its id. False, with a `warning`, for a handle that
   * is not loaded.
   *
   * @throws EbpfAttachError `ERR_EBPF_STILL_ATTACHED` listing the interfaces; `force` detaches first
   */
  async unloadProgram(handle: string, options: { force?: boolean } = {}): Promise<boolean> {
    const entry = this.#entries.get(handle);
    if (!entry) {
      this.#warn(`unload ${handle}: not loaded`);
      return false;
    }
    if (entry.attachments.length > 0) {
      const interfaces = entry.attachments.map((attachment) => placeOf(entry, attachment)).join(', ');
      if (options.force !== true) {
        throw new EbpfAttachError(`unload ${handle}: still attached to ${interfaces}`, {
          code: 'ERR_EBPF_STILL_ATTACHED',
          target: interfaces,
          hint: 'detach it first, or pass force: true',
        });
      }
      for (const attachment of [...entry.attachments]) this.#detach(entry, attachment);
    }
    entry.state = 'unloaded';
    this.#entries.delete(handle);
    entry.object.close();
    await this.#untilGone(entry.program);
    this.#logger?.info(`unloaded ${handle}`);
    this.emit('unloaded', snapshot(entry));
    return true;
  }

  listLoadedPrograms(): LoadedProgram[] {
    return [...this.#entries.values()].map(snapshot);
  }

  getProgram(handle: string): LoadedProgram | undefined {
    const entry = this.#entries.get(handle);
    return entry && snapshot(entry);
  }

  /** What this loader has attached to an interface of the process's own namespace. */
  getInterfacePrograms(iface: Iface): Attachment[] {
    return [...this.#entries.values()].flatMap((entry) => recordedAt(entry.attachments, { iface }));
  }

  /** Detaches and unloads everything. Idempotent; the loader is unusable afterwards. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      for (const attachment of [...entry.attachments]) {
        attachment.link.close();
        this.#drop(entry, attachment);
      }
      entry.state = 'unloaded';
      entry.object.close();
    }
    await Promise.all(entries.map((entry) => this.#untilGone(entry.program)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new EbpfStateError('the loader is closed', { state: 'closed' });
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

  #detach(entry: Entry, attachment: Recorded): void {
    const { link } = attachment;
    const place = placeOf(entry, attachment);
    const state = link.closed ? 'detached' : link.state();
    if (state === 'replaced') {
      const holder = link.holder();
      throw new EbpfAttachError(
        `detach ${entry.handle} from ${place}: the hook now holds program ${holder?.programId ?? 'unknown'}`,
        { code: 'ERR_EBPF_REPLACED', target: place, holder },
      );
    }
    if (state === 'detached') {
      this.#warn(`detach ${entry.handle} from ${place}: it was detached already, from outside`);
      link.close();
    } else {
      link.detach();
    }
    this.#drop(entry, attachment);
  }

  #drop(entry: Entry, attachment: Recorded): void {
    attachment.link.close();
    entry.attachments = entry.attachments.filter((other) => other !== attachment);
    entry.state = entry.attachments.length > 0 ? 'attached' : 'loaded';
    this.#logger?.info(`detached ${entry.handle} from ${placeOf(entry, attachment)}`);
    this.emit('detached', attachment);
  }

  #warn(message: string): void {
    this.#logger?.warn(message);
    this.emit('warning', message);
  }

  async #untilGone(program: BpfProgram): Promise<void> {
    const deadline = performance.now() + GONE_WITHIN_MS;
    try {
      for (let wait = 1; native().programExists(program.id); wait = Math.min(2 * wait, 50)) {
        if (performance.now() > deadline) {
          const links = native()
            .links()
            .filter((link) => link.programId === program.id);
          const who =
            links.map((link) => `link ${link.id}`).join(', ') || 'a pin or a descriptor of another process';
          this.#warn(`program ${program.id} "${program.name}" is still in the kernel: held by ${who}`);
          return;
        }
        await sleep(wait);
      }
    } catch (error) {
      if (!isNativeFailure(error)) throw error;
      this.#warn(
        `unload of program ${program.id} is unconfirmed: without CAP_SYS_ADMIN the kernel tells no ids`,
      );
    }
  }
}

function placeOf(entry: Entry, attachment: Attachment): string {
  return attachment.iface ?? entry.program.section;
}

// The caller has the link too, and may have closed it.
function isAttached(link: BpfLink): boolean {
  return !link.closed && link.state() === 'attached';
}

function snapshot(entry: Entry): LoadedProgram {
  const { handle, program, object, state, source, attachments } = entry;
  return { handle, program, object, state, type: program.type, source, attachments: [...attachments] };
}
