import type { NativeIterator, NativeLink } from '../addon/binding.ts';
import type { Bytes } from '../core/bytes.ts';
import { describeFailure, EbpfAttachError, EbpfError, EbpfNotSupportedError } from '../core/errors.ts';
import { kernelBefore } from '../kernel/release.ts';
import type { BpfLink } from '../link/link.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import type { BpfMap } from '../map/map.ts';
import { attachFailure, requireType } from './failure.ts';

// Iterators: the kernel calls a SEC("iter/…") program for each of its objects of one kind, and the program's
// output is read.

/** Options of openIterator(). */
export interface IteratorOptions {
  /** The map whose elements are iterated, for `iter/bpf_map_elem` and `iter/bpf_sk_storage_map`. */
  map?: BpfMap;
}

/** @internal */
export function attachIterator(
  program: ProgramRef,
  { map }: IteratorOptions,
): { native: NativeLink; target: string } {
  const target = map === undefined ? program.section.replace(/^iter(\.s)?\//, '') : `map ${map.name}`;
  const what = `attach ${program.name} to ${target || 'the objects that it iterates over'}`;
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
      return refuse('it iterates over the elements of a map: pass map');
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
          ? 'only SEC("iter/…") programs can iterate'
          : 'it cannot iterate over the elements of a map of this type',
      );
    case 'EACCES':
      return refuse('the program reads beyond the key or value size of this map');
  }
  return attachFailure(what, program.name, { kind: 'iter', target }, error);
}

/**
 * The output of an iterator program, in chunks of at most 64 KiB, which can end anywhere. It can be read
 * once. The end of the loop, `break` and an exception in the loop close the iterator and its link, and so
 * does close().
 *
 * @example
 * for await (const bytes of object.program('each_task').openIterator()) process.stdout.write(bytes);
 */
export class BpfIterator implements AsyncIterableIterator<Bytes>, AsyncDisposable, Disposable {
  readonly #link: BpfLink;
  readonly #native: NativeIterator;
  readonly #what: string;
  // Queues the reads of a caller that does not wait: the kernel serves one at a time.
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** @internal */
  constructor(link: BpfLink, native: NativeIterator, what: string) {
    this.#link = link;
    this.#native = native;
    this.#what = what;
  }

  /** Returns the iterator itself, which can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * Reads the next bytes on the thread pool.
   *
   * @throws EbpfError if the kernel reports an error, which closes the iterator
   */
  next(): Promise<IteratorResult<Bytes, undefined>> {
    const answer = this.#last.then(() => this.#read());
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Closes the iterator. */
  async return(): Promise<IteratorResult<Bytes, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  /** Closes the iterator, and rejects with `error`. */
  async throw(error?: unknown): Promise<IteratorResult<Bytes, undefined>> {
    this.close();
    throw error;
  }

  async #read(): Promise<IteratorResult<Bytes, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    try {
      const value = await this.#native.read();
      // Bytes that arrive after close() are dropped.
      if (value !== undefined && !this.#closed) return { done: false, value };
      this.close();
      return { done: true, value: undefined };
    } catch (error) {
      this.close();
      const { words, options } = describeFailure(error, this.#what);
      throw new EbpfError(`read ${this.#what}: ${words}`, options);
    }
  }

  /** Closes the iterator and its link. A read in progress ends with `done`. Closing twice is allowed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close();
    this.#link.close();
  }

  /** Same as close(). */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Same as close(), and resolves when a read in progress has ended. */
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
    throw new EbpfError(`open ${what}: ${words}`, options);
  }
}
