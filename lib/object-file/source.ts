import * as fs from 'node:fs';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
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

// A FIFO would block in open(2) and a terminal would become ours: O_NONBLOCK and O_NOCTTY, then fstat
// decides.
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

// Not those of node:fs/promises: a worker that is terminated while its open() is under way leaves the
// descriptor open (seen with Node 20: AfterOpenFileHandle in src/node_file.cc drops it), and those of
// fs.open() it closes. fs.close() gives the descriptor up before the pool has closed it, and a worker that is
// terminated meanwhile takes it out of the pool's queue: so that is done at once.
const [open, fstat, read] = [promisify(fs.open), promisify(fs.fstat), promisify(fs.read)];

/** Reads `source`, or throws EbpfValidationError with the one rule that it breaks. */
export async function readSource(source: Source, limit = DEFAULT_FILE_LIMIT): Promise<SourceBytes> {
  const path = sourcePath(source);
  if (path === undefined) return fromBytes(source as Bytes, limit);
  let fd: number | undefined;
  try {
    fd = await open(path, FLAGS);
    const stat = await fstat(fd);
    const size = checkedSize(path, stat.isFile(), stat.size, limit);
    const bytes = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const { bytesRead } = await read(fd, bytes, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return fromFile(path, bytes.subarray(0, length));
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export function readSourceSync(source: Source, limit = DEFAULT_FILE_LIMIT): SourceBytes {
  const path = sourcePath(source);
  if (path === undefined) return fromBytes(source as Bytes, limit);
  let fd: number | undefined;
  try {
    fd = openSync(path, FLAGS);
    const stat = fstatSync(fd);
    const size = checkedSize(path, stat.isFile(), stat.size, limit);
    const bytes = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const bytesRead = readSync(fd, bytes, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return fromFile(path, bytes.subarray(0, length));
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
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
