import type { NativeIterator, NativeLink } from '../addon/binding.ts';
import type { Bytes } from '../core/bytes.ts';
import {
  describeFailure,
  EbpfAttachError,
  EbpfError,
  EbpfNotSupportedError,
  EbpfStateError,
} from '../core/errors.ts';
import { kernelBefore } from '../kernel/release.ts';
import type { BpfLink } from '../link/link.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import type { BpfMap } from '../map/map.ts';
import { attachFailure, requireType } from './failure.ts';

// One pass over objects of the kernel: a program of SEC("iter/…") is called for each, and what it writes is read.

/** What an iterator runs over. */
export interface IteratorOptions {
  /** Whose elements, for `iter/bpf_map_elem` and `iter/bpf_sk_storage_map`. */
  map?: BpfMap;
}

/** @internal */
export function attachIterator(
  program: ProgramRef,
  { map }: IteratorOptions,
): { native: NativeLink; target: string } {
  const target = map === undefined ? program.section.replace(/^iter(\.s)?\//, '') : `map ${map.name}`;
  const what = `attach ${program.name} to ${target || 'the objects that it iterates'}`;
  if (map !== undefined && typeof map?.native?.bind !== 'function') {
    throw new TypeError(`Expected a BpfMap for map but received ${typeof map}`);
  }
  requireType(what, program, ['tracing'], target, 'one of SEC("iter/…")');
  try {
    return { native: program.native.attachIterator(map?.native), target };
  } catch (error) {
    throw iteratorFailure(what, program, map, target, error);
  }
}

function iteratorFailure(
  what: string,
  program: ProgramRef,
  map: BpfMap | undefined,
  target: string,
  error: unknown,
) {
  const { words, options } = describeFailure(error, `program ${program.name}`);
  const refuse = (hint: string) => new EbpfAttachError(`${what}: ${words}`, { ...options, target, hint });
  switch (options.code) {
    case 'EBADF': // kernel/bpf/map_iter.c, bpf_iter_attach_map
      return refuse('it iterates the elements of a map: pass map');
    case 'EINVAL':
      if (kernelBefore('5.8')) {
        return new EbpfNotSupportedError(`${what}: ${words}`, {
          ...options,
          feature: 'iter',
          minKernel: '5.8',
        });
      }
      return refuse(
        map === undefined
          ? 'only programs of SEC("iter/…") iterate'
          : 'it does not iterate the elements of such a map',
      );
    case 'EACCES':
      return refuse('the program reads more of a key or a value than this map has');
  }
  return attachFailure(what, program.name, { kind: 'iter', target }, error);
}

/**
 * What an iterator's program wrote, in pieces of at most 64 KiB that end anywhere. It can be read once; the end of the
 * loop, `break` and an exception in it close it, with its link. So does close().
 *
 * @example
 * for await (const bytes of object.program('each_task').openIterator()) process.stdout.write(bytes);
 */
export class BpfIterator implements AsyncIterableIterator<Bytes>, AsyncDisposable, Disposable {
  readonly #link: BpfLink;
  readonly #native: NativeIterator;
  readonly #what: string;
  // Reads of a caller that does not wait: the kernel gives one answer at a time.
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** @internal */
  constructor(link: BpfLink, native: NativeIterator, what: string) {
    this.#link = link;
    this.#native = native;
    this.#what = what;
  }

  /** The iterator itself: it can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * The next bytes, read on the thread pool.
   *
   * @throws EbpfError with what the kernel says; the iterator is closed then
   */
  next(): Promise<IteratorResult<Bytes, undefined>> {
    const answer = this.#last.then(() => this.#read());
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Closes it. */
  async return(): Promise<IteratorResult<Bytes, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  /** Closes it, and rejects. */
  async throw(error?: unknown): Promise<IteratorResult<Bytes, undefined>> {
    this.close();
    throw error;
  }

  async #read(): Promise<IteratorResult<Bytes, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    try {
      const value = await this.#native.read();
      // What was read when it was closed meanwhile is nobody's.
      if (value !== undefined && !this.#closed) return { done: false, value };
      this.close();
      return { done: true, value: undefined };
    } catch (error) {
      this.close();
      const { words, options } = describeFailure(error, this.#what);
      throw new EbpfError(`read ${this.#what}: ${words}`, options);
    }
  }

  /** Gives up the iterator and its link. A read that is under way ends with `done`. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close();
    this.#link.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** close(), for `await using`; resolves once a read that was under way has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#last;
  }
}

/** @internal */
export function openIterator(link: BpfLink, native: NativeLink, program: string): BpfIterator {
  const what = `the iterator of ${program}`;
  try {
    return new BpfIterator(link, native.openIterator(), what);
  } catch (error) {
    link.close();
    const { words, options } = describeFailure(error, what);
    if (options.code === 'ERR_EBPF_CLOSED')
      throw new EbpfStateError(`${what} is closed`, { state: 'closed' });
    throw new EbpfError(`open ${what}: ${words}`, options);
  }
}
