import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { basename, isAbsolute, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EbpfValidationError } from './errors.ts';
import type { Bytes } from './map.ts';
import { finding, type RuleId } from './rules.ts';
import type { Finding } from './validate.ts';

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

// A FIFO would block in open(2) and a terminal would become ours: O_NONBLOCK and O_NOCTTY, then fstat decides.
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** Reads `source`, or throws EbpfValidationError with the one rule that it breaks. */
export async function readSource(source: Source, limit = DEFAULT_FILE_LIMIT): Promise<SourceBytes> {
  const path = sourcePath(source);
  if (path === undefined) return fromBytes(source as Bytes, limit);
  let file: FileHandle | undefined;
  try {
    file = await open(path, FLAGS);
    const stat = await file.stat();
    const size = checkedSize(path, stat.isFile(), stat.size, limit);
    const bytes = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const { bytesRead } = await file.read(bytes, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return fromFile(path, bytes.subarray(0, length));
  } catch (error) {
    throw readFailure(path, error);
  } finally {
    await file?.close();
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
  throw invalidObject([{ rule: 'file-outside', level: 'error', place: path, message }]);
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
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
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
