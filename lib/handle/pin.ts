import { existsSync, statfsSync, unlinkSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { NativeLink, NativeMap, NativeProgram } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfError } from '../core/errors.ts';
import { permissionError } from '../kernel/capabilities.ts';
import { kernelBefore } from '../kernel/release.ts';

// A pin is a name in a BPF file system that keeps a map, a program or a link in the kernel.

interface Pinned {
  map: NativeMap;
  program: NativeProgram;
  link: NativeLink;
}
export type PinKind = keyof Pinned;

// linux/magic.h
const BPF_FS_MAGIC = 0xcafe4a11;

/**
 * Resolves the path of a pin and checks its name, before any bpf(2) call.
 *
 * @throws EbpfError `ERR_EBPF_PIN_NAME` if the BPF file system does not allow the name
 */
export function pinPath(path: string): string {
  if (typeof path !== 'string') {
    throw new TypeError(`Expected a path for a pin but received ${typeof path}`);
  }
  const name = basename(path);
  const refuse = (why: string, hint?: string) =>
    new EbpfError(`pin "${path}": ${why}`, { code: 'ERR_EBPF_PIN_NAME', hint });
  if (path.includes('\0')) throw refuse('a path cannot contain NUL');
  if (name === '' || path.endsWith('/')) throw refuse('the path has no file name');
  // resolve() would remove `..` before symbolic links are followed, and so name another folder than the
  // kernel.
  if (path.split('/').includes('..')) throw refuse('the path cannot contain ".."');
  if (name.includes('.')) {
    // kernel/bpf/inode.c, bpf_lookup: EPERM, which would look like a missing capability.
    throw refuse(
      'the BPF file system reserves names with a dot',
      `use a name without one, such as ${name.replace(/^\.+|\.+$/g, '').replaceAll('.', '_') || 'map'}`,
    );
  }
  if (Buffer.byteLength(name) > 255) throw refuse('a name can have at most 255 bytes');
  return resolve(path);
}

/** Pins the object of `handle`, which messages call `noun`. Returns the absolute path. */
export function pin(handle: { pin(path: string): void }, noun: string, path: string): string {
  const full = pinPath(path);
  try {
    handle.pin(full);
  } catch (error) {
    throw pinFailure(`pin ${noun} at ${full}`, noun, full, error);
  }
  return full;
}

/**
 * Opens a pin and checks its kind. The kernel keeps 15 characters of a name, and no section: a caller that
 * knows them passes `name` and `section`.
 */
export function openPin<K extends PinKind>(
  path: string,
  kind: K,
  { name, section }: { name?: string; section?: string } = {},
): { handle: Pinned[K]; path: string } {
  const full = pinPath(path);
  const what = `open the ${kind} that is pinned at ${full}`;
  let found: ReturnType<ReturnType<typeof native>['openPin']>;
  try {
    found = native().openPin(full, name, section);
  } catch (error) {
    throw pinFailure(what, `the pin at ${full}`, full, error);
  }
  if (found.kind === kind) return { handle: found.handle as Pinned[K], path: full };
  found.handle.close();
  throw new EbpfError(`${what}: a ${found.kind} is pinned there`, {
    code: 'ERR_EBPF_PIN_KIND',
    hint: `Bpf${found.kind[0]?.toUpperCase()}${found.kind.slice(1)}.fromPin opens it`,
  });
}

/**
 * Removes a pin if it still holds the object of this kind and id. A pin that is gone or holds another is left
 * alone.
 */
export function unpin(path: string, kind: PinKind, id: number | undefined): void {
  let found: ReturnType<ReturnType<typeof native>['openPin']>;
  try {
    found = native().openPin(path);
  } catch (error) {
    const { code } = describeFailure(error, `the pin at ${path}`).options;
    // The pin is gone, or its file system is and the name now belongs to an ordinary file.
    if (code === 'ENOENT' || code === 'ENOTDIR' || bpffsAt(path) === false) return;
    throw pinFailure(`unpin ${path}`, `the pin at ${path}`, path, error);
  }
  try {
    const shape = 'describe' in found.handle ? found.handle.describe() : found.handle.info();
    if (found.kind !== kind || shape.id !== id) return;
  } finally {
    found.handle.close();
  }
  try {
    unlinkSync(path);
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw new EbpfError(`unpin ${path}: ${message}`, { code, cause: error });
  }
}

function pinFailure(what: string, noun: string, path: string, error: unknown): EbpfError {
  const { words, options } = describeFailure(error, noun);
  const message = `${what}: ${words}`;
  switch (options.code) {
    case 'EEXIST':
      return new EbpfError(message, {
        ...options,
        hint: `something is pinned there already: open it with fromPin("${path}"), remove it, or use another name`,
      });
    case 'EOPNOTSUPP':
      return new EbpfError(message, {
        ...options,
        code: 'ERR_EBPF_NOT_PINNABLE',
        hint: 'only attachments with a single bpf_link can be pinned: an XDP link (not via netlink), a tracepoint',
      });
  }
  const inBpffs = bpffsAt(path);
  if (inBpffs && options.code === 'EINVAL' && kernelBefore('5.15')) {
    return new EbpfError(message, {
      ...options,
      code: 'ERR_EBPF_NOT_PINNABLE',
      hint: 'tracepoints, kprobes, uprobes and perf events have a bpf_link, which can be pinned, from Linux 5.15 on',
    });
  }
  if (inBpffs === false && options.code !== 'ENOTDIR') {
    return new EbpfError(`${what}: ${dirname(path)} is not in a BPF file system`, {
      ...options,
      code: 'ERR_EBPF_NO_BPFFS',
      hint: 'mount one: mount -t bpf bpf /sys/fs/bpf',
    });
  }
  switch (options.code) {
    case 'ENOENT': {
      const hint = existsSync(dirname(path))
        ? undefined
        : `there is no folder ${dirname(path)}: create it with mkdir`;
      return new EbpfError(message, { ...options, hint });
    }
    case 'EPERM':
      if (dirname(path).includes('.')) {
        const hint = 'the BPF file system has no folders with a dot in their name';
        return new EbpfError(message, { ...options, code: 'ERR_EBPF_PIN_NAME', hint });
      }
      return permissionError(message, options, ['CAP_BPF']);
  }
  return new EbpfError(message, options);
}

/**
 * Whether the nearest existing folder of `path` is in a BPF file system; undefined if that cannot be read.
 */
export function bpffsAt(path: string): boolean | undefined {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    try {
      return statfsSync(folder).type === BPF_FS_MAGIC;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // EPERM: a name with a dot inside a BPF file system.
      if ((code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EPERM') || folder === '/') return undefined;
    }
  }
}
