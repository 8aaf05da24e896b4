// Machines and kernels that this one is not: what the addon and the system answer is put in their place, nothing of lib/.
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import os, { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, vi } from 'vitest';
import type { NativeBinding } from '../../lib/addon/binding.ts';
import { errnoName } from '../../lib/core/errors.ts';

const BUILT = fileURLToPath(new URL('../../build/Release/node_ebpf.node', import.meta.url));

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

/** A file for NODE_EBPF_BINARY: the addon, and `members`, the inside of an object literal, in front of it. */
export function addonFile(members = ''): string {
  const folder = fs.mkdtempSync(join(tmpdir(), 'node-ebpf-fake-'));
  folders.push(folder);
  const file = join(folder, 'addon.cjs');
  const real = JSON.stringify(process.env.NODE_EBPF_BINARY ?? BUILT);
  const failure =
    'const failure = (errno, operation = "bpf") => Object.assign(new Error("Errno " + errno), { errno, operation });';
  fs.writeFileSync(
    file,
    `${failure}\nmodule.exports = Object.setPrototypeOf({ ${members} }, require(${real}));\n`,
  );
  fs.chmodSync(folder, 0o755);
  return file;
}

/**
 * The addon of this test file: the members that a test sets on it, and else the real one's. Before the library's first
 * call.
 */
export function fakeAddon(): Partial<NativeBinding> {
  const file = addonFile();
  process.env.NODE_EBPF_BINARY = file;
  return createRequire(import.meta.url)(file) as Partial<NativeBinding>;
}

/** What native code throws. */
export function nativeFailure(errno: number, operation = 'bpf', log: string[] = []): Error {
  const message = `The kernel says ${errnoName(errno)}`;
  return Object.assign(new Error(message), { code: errnoName(errno), errno, operation, log });
}

/** What node:fs throws. */
export function fileFailure(code: keyof typeof constants.errno, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, errno: -constants.errno[code] });
}

export interface Machine {
  /** os.release() */
  kernel?: string;
  /** The text of a file, or the code that reading, opening or asking for it fails with. */
  files?: Readonly<Record<string, string | Error>>;
  /** The magic number (linux/magic.h) of the file system that a folder is in. */
  fileSystems?: Readonly<Record<string, number>>;
}

/** For the rest of the test: files and the kernel's release as another machine has them. vi.restoreAllMocks() ends it. */
export function pretend({ kernel, files = {}, fileSystems = {} }: Machine): void {
  if (kernel !== undefined) vi.spyOn(os, 'release').mockReturnValue(kernel);
  const answer = (path: unknown): string | undefined => {
    const found = Object.hasOwn(files, String(path)) ? files[String(path)] : undefined;
    if (found instanceof Error) throw found;
    return found;
  };
  const { readFileSync, readlinkSync, accessSync, statSync, statfsSync, existsSync } = fs;
  const fake = (name: string, work: (...args: never[]) => unknown) =>
    vi.spyOn(fs, name as 'readFileSync').mockImplementation(work as never);
  fake('readFileSync', (path: string, ...rest: never[]) => answer(path) ?? readFileSync(path, ...rest));
  fake('readlinkSync', (path: string, ...rest: never[]) => answer(path) ?? readlinkSync(path, ...rest));
  fake('accessSync', (path: string, ...rest: never[]) =>
    answer(path) === undefined ? accessSync(path, ...rest) : undefined,
  );
  fake('statSync', (path: string, ...rest: never[]) =>
    answer(path) === undefined ? statSync(path, ...rest) : statSync('/'),
  );
  fake('statfsSync', (path: string, ...rest: never[]) => {
    const type = fileSystems[path];
    return type === undefined ? statfsSync(path, ...rest) : { type };
  });
  fake('existsSync', (path: string) => {
    const found = Object.hasOwn(files, path) ? files[path] : undefined;
    return found === undefined ? existsSync(path) : !(found instanceof Error);
  });
  syncBuiltinESMExports();
}

/** For afterEach: the machine and the addon are what they are. */
export function stopPretending(addon: Partial<NativeBinding>): void {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
  for (const member of Object.keys(addon)) delete addon[member as keyof NativeBinding];
}
