import * as fs from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { basename, isAbsolute, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { native } from '../addon/native.ts';
import type { Bytes } from '../core/bytes.ts';
import { EbpfError, EbpfValidationError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { finding, type RuleId } from './rules.ts';

/** An object file by path or `file:` URL, or its bytes. A file is read once. */
export type Source = string | URL | Bytes;

/** Object files are kilobytes; one of this size is something else. */
export const DEFAULT_FILE_LIMIT = 32 * 1024 * 1024;

export interface SourceBytes {
  bytes: Uint8Array;
  /** What the kernel and messages call it: the file's name up to the first dot. */
  name: string;
  /** The path, or `<bytes>`. */
  place: string;
}

// A FIFO would block in open(2) and a terminal would become ours: O_NONBLOCK, O_NOCTTY, then fstat decides.
const FLAGS = fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY;

// node:fs/promises leaks the descriptor if the worker is terminated during open() (seen with Node 20:
// AfterOpenFileHandle in src/node_file.cc drops it); fs.open() does not.
const [open, fstat, read] = [promisify(fs.open), promisify(fs.fstat), promisify(fs.read)];

/** Reads `source`, or throws EbpfValidationError with the one rule that it breaks. */
export async function readSource(source: Source, limit = DEFAULT_FILE_LIMIT): Promise<SourceBytes> {
  const steps = reading(source, limit, 'async');
  let step = steps.next();
  while (!step.done) {
    step = await Promise.resolve(step.value).then(
      (value) => steps.next(value),
      (error) => steps.throw(error),
    );
  }
  return step.value;
}

export function readSourceSync(source: Source, limit = DEFAULT_FILE_LIMIT): SourceBytes {
  const steps = reading(source, limit, 'sync');
  let step = steps.next();
  while (!step.done) step = steps.next(step.value);
  return step.value;
}

/** Yields what each call returns, a promise if `async`, and is resumed with its result. */
function* reading(source: Source, limit: number, how: 'async' | 'sync'): Steps<SourceBytes> {
  const path = sourcePath(source);
  if (path === undefined) return fromBytes(source as Bytes, limit);
  const later = how === 'async';
  let fd: number | undefined;
  try {
    fd = yield* resultOf(later ? open(path, FLAGS) : fs.openSync(path, FLAGS));
    const stat = yield* resultOf(later ? fstat(fd) : fs.fstatSync(fd));
    const bytes = new Uint8Array(checkedSize(path, stat.isFile(), stat.size, limit));
    let length = 0;
    while (length < bytes.length) {
      const rest = [fd, bytes, length, bytes.length - length, length] as const;
      const count = yield* resultOf(
        later ? read(...rest).then(({ bytesRead }) => bytesRead) : fs.readSync(...rest),
      );
      if (count === 0) break;
      length += count;
    }
    return fromFile(path, bytes.subarray(0, length));
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    // fs.close() gives the descriptor up before the pool has closed it, and a worker that is terminated
    // meanwhile takes it out of the pool's queue: so this closes it at once.
    if (fd !== undefined) fs.closeSync(fd);
  }
}

type Steps<T> = Generator<unknown, T, unknown>;

function* resultOf<T>(value: T | Promise<T>): Steps<T> {
  return (yield value) as T;
}

/** The path that `source` names; undefined for bytes. */
export function sourcePath(source: Source): string | undefined {
  if (typeof source === 'string') return source;
  if (source instanceof URL) return fileURLToPath(source);
  if (source instanceof Uint8Array) return undefined;
  throw new TypeError(
    `Expected a path, a file: URL or a Uint8Array for source but received ${typeof source}`,
  );
}

/** `source` with its path resolved in `folder`; one that leads out of it is refused. */
export async function inFolder(folder: string | undefined, source: Source): Promise<Source> {
  const path = sourcePath(source);
  if (folder === undefined || path === undefined) return source;
  const full = resolve(folder, path);
  try {
    // Links are followed first: a link inside may lead out.
    const inside = relative(await realpath(folder), await realpath(full));
    if (inside !== '..' && !inside.startsWith('../') && !isAbsolute(inside)) return full;
  } catch {
    return full; // reading it will say what is wrong
  }
  const message = `outside the programs directory ${folder}`;
  throw refuse('file-outside', path, message);
}

function fromBytes(bytes: Bytes, limit: number): SourceBytes {
  checkedSize('<bytes>', true, bytes.byteLength, limit);
  return { bytes, name: 'object', place: '<bytes>' };
}

function fromFile(path: string, bytes: Uint8Array): SourceBytes {
  return { bytes, name: basename(path).replace(/\..*$/, '') || 'object', place: path };
}

function checkedSize(path: string, isFile: boolean, size: number, limit: number): number {
  if (!isFile) throw refuse('file-type', path, 'not a regular file');
  if (size > limit) throw refuse('file-size', path, `${size} bytes, over the limit of ${limit}`);
  return size;
}

function readFailure(path: string, error: unknown): unknown {
  if (error instanceof EbpfValidationError) return error;
  const { code, errno = 0, syscall, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  // The process's want, which says nothing about the file.
  if (['EMFILE', 'ENFILE', 'ENOMEM'].includes(code)) {
    const words = native().describeErrno(Math.abs(errno)).toLowerCase();
    return new EbpfError(`read ${path}: ${words}`, { code, errno: Math.abs(errno), syscall, cause: error });
  }
  if (code === 'ENOENT') return refuse('file-missing', path, 'no such file', error);
  return refuse('file-unreadable', path, message, error);
}

function refuse(rule: RuleId, place: string, message: string, cause?: unknown): Error {
  return invalidObject([finding(rule, place, message)], cause);
}

/** The error that a set of findings amounts to. */
export function invalidObject(findings: readonly Finding[], cause?: unknown): EbpfValidationError {
  const first = findings.find((finding) => finding.level === 'error');
  const rest = findings.length > 1 ? ` (and ${findings.length - 1} more)` : '';
  return new EbpfValidationError(`${first?.place}: ${first?.message}${rest}`, {
    findings,
    hint: first?.remedy,
    cause,
  });
}

/**
 * The paths of the object files in a folder, by name. Where a `programsDir` is set, the folder has to be in
 * it.
 *
 * @throws EbpfError ENOENT, ENOTDIR, EACCES
 */
export async function objectFiles(programsDir: string | undefined, dir: string): Promise<string[]> {
  const folder = String(await inFolder(programsDir, dir));
  try {
    const names = await readdir(folder);
    return names
      .filter((name) => name.endsWith('.o'))
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    throw new EbpfError(`load the programs in ${folder}: ${message}`, { code, cause: error });
  }
}
