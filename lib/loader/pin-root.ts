import { EbpfError } from '../core/errors.ts';
import { unpin } from '../handle/pin.ts';
import type { BpfLink } from '../link/link.ts';
import { hookName, type Recorded } from './attachment.ts';
import type { Entry } from './loaded.ts';
import { PinFolder } from './pin-folder.ts';
import { isThere, unpinEnded } from './recover.ts';

/** The loader's `pinRoot`: what of it is to outlive the process. @internal */
export class PinRoot {
  readonly #path: string | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  /** @throws EbpfError `ERR_EBPF_NO_PIN_ROOT` */
  require(): string {
    if (this.#path !== undefined) return this.#path;
    throw new EbpfError('pin: this loader has no folder for it', {
      code: 'ERR_EBPF_NO_PIN_ROOT',
      hint: "name one in a BPF file system: new EbpfLoader({ pinRoot: '/sys/fs/bpf/my-app' })",
    });
  }

  folders(): PinFolder[] {
    return PinFolder.list(this.require());
  }

  /** Pins a program and its maps, once. */
  add(entry: Entry): PinFolder {
    const { program, object, source, handle } = entry;
    entry.folder ??= PinFolder.create(this.require(), handle, program, Object.values(object.maps), source);
    return entry.folder;
  }

  remove(entry: Entry): void {
    entry.folder?.remove();
    delete entry.folder;
  }

  /**
   * Has an attachment outlive the process. Its hook is recorded before `attach`: a process that is killed in between
   * leaves a record of nothing, never an attachment that nobody finds. Where another process attaches the same program
   * there meanwhile, its record and its pin stay, whichever of the two came first.
   */
  keep(entry: Entry, at: Pick<Recorded, 'hook' | 'ifindex' | 'netnsId'>, attach: () => Recorded): Recorded {
    const wasPinned = entry.folder !== undefined;
    const folder = this.add(entry);
    const hook = hookName(at.hook, at.ifindex, at.netnsId);
    let recorded = false;
    let attachment: Recorded | undefined;
    try {
      recorded = folder.addHook(hook);
      if (!recorded) unpinEnded(entry, folder, hook);
      attachment = attach();
      recorded = folder.addHook(hook) || recorded;
      if (attachment.link.owner === 'netlink') attachment.link.persist();
      else pinLink(attachment.link, folder, hook);
      attachment.pinnedAs = hook;
      return attachment;
    } catch (error) {
      // One that was there before stays as it was.
      if (attachment && !entry.attachments.includes(attachment)) attachment.link.close();
      if (!wasPinned) this.remove(entry);
      else if (recorded) forgetRecord(entry, folder, hook);
      throw error;
    }
  }

  /** Removes the record and the pin of an attachment that is gone. */
  forget(entry: Entry, { pinnedAs, link }: Recorded): void {
    const { folder } = entry;
    if (!folder || pinnedAs === undefined) return;
    unpin(folder.linkPath(pinnedAs), 'link', link.id);
    forgetRecord(entry, folder, pinnedAs);
  }

  /** The same of one that recover() did not find. */
  forgetLost(entry: Entry, hook: string): void {
    const { folder } = entry;
    if (!folder) return;
    unpinEnded(entry, folder, hook);
    forgetRecord(entry, folder, hook);
  }
}

// Another process that failed to attach the program there may have taken the record away.
function pinLink(link: BpfLink, folder: PinFolder, hook: string): void {
  try {
    link.pin(folder.linkPath(hook));
  } catch (error) {
    if (!(error instanceof EbpfError) || error.code !== 'ENOENT') throw error;
    folder.addHook(hook);
    link.pin(folder.linkPath(hook));
  }
}

// Another process may have attached the program there since.
function forgetRecord(entry: Entry, folder: PinFolder, hook: string): void {
  if (!isThere(entry, folder, hook)) folder.dropHook(hook);
}
