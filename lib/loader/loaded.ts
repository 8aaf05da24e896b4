import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../addon/native.ts';
import { EbpfAttachError, type Holder, isNativeFailure } from '../core/errors.ts';
import type { BpfLink } from '../link/link.ts';
import type { BpfObject } from '../object/object.ts';
import type { BpfProgram } from '../program/program.ts';
import type { Attachment, Recorded } from './attachment.ts';
import type { PinFolder } from './pin-folder.ts';

/** A program in the loader. A snapshot: ask again after a call that changes it. */
export interface LoadedProgram {
  /** The name of the program in this loader; the kernel's number is `program.id`. */
  readonly handle: string;
  /** A handle of the loader's: unloadProgram() closes it. */
  readonly program: BpfProgram;
  /** Its maps are here. Programs that loadDirectory() loaded from one file share it. */
  readonly object: BpfObject;
  /**
   * `attached` with at least one attachment that the loader knows; `unloaded` only in what the event `unloaded` gives.
   */
  readonly state: 'loaded' | 'attached' | 'unloaded';
  /** The kernel's word for the program's type. */
  readonly type: string;
  /** The file, or `<bytes>`. */
  readonly source: string;
  /** In the order in which they were made or recovered. */
  readonly attachments: readonly Attachment[];
}

/** What the loader keeps of a program. @internal */
export interface Entry {
  handle: string;
  program: BpfProgram;
  /** Programs of one file share it. */
  object: BpfObject;
  state: LoadedProgram['state'];
  source: string;
  attachments: Recorded[];
  /** Where it is pinned under pinRoot. */
  folder?: PinFolder;
  /** Hooks recorded there that recover() found nothing of ours on. */
  lost?: LostHook[];
}

/** @internal */
export interface LostHook {
  /** By its name in the folder. */
  hook: string;
  words: string;
}

/** @internal */
export function snapshot(entry: Entry): LoadedProgram {
  const { handle, program, object, state, source, attachments } = entry;
  return { handle, program, object, state, type: program.type, source, attachments: [...attachments] };
}

/** The words for where an attachment is. @internal */
export function placeOf(entry: Pick<Entry, 'program'>, attachment: Attachment): string {
  return attachment.iface ?? entry.program.section;
}

/** @internal */
export function replacedError(handle: string, place: string, holder: Holder | undefined): EbpfAttachError {
  return new EbpfAttachError(
    `detach ${handle} from ${place}: the hook now holds program ${holder?.programId ?? 'unknown'}`,
    { code: 'ERR_EBPF_REPLACED', target: place, holder },
  );
}

/** The caller has the link too, and may have closed it. @internal */
export function isAttached(link: BpfLink): boolean {
  return !link.closed && link.state() === 'attached';
}

// RCU frees a program some milliseconds after its last reference went (raw tracepoints: some 300).
const GONE_WITHIN_MS = 2000;

/** Waits until the kernel does not know the program any more, or gives the words for why that is not so. @internal */
export async function untilGone({ id, name }: BpfProgram): Promise<string | undefined> {
  const deadline = performance.now() + GONE_WITHIN_MS;
  try {
    for (let wait = 1; native().programExists(id); wait = Math.min(2 * wait, 50)) {
      if (performance.now() > deadline) {
        const links = native()
          .links()
          .filter((link) => link.programId === id)
          .map((link) => `link ${link.id}`);
        const who = links.join(', ') || 'a pin or a descriptor of another process';
        return `program ${id} "${name}" is still in the kernel: held by ${who}`;
      }
      await sleep(wait);
    }
    return undefined;
  } catch (error) {
    if (!isNativeFailure(error)) throw error;
    return `unload of program ${id} is unconfirmed: without CAP_SYS_ADMIN the kernel tells no ids`;
  }
}
