import { existsSync, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { native } from '../addon/native.ts';
import { describeFailure, EbpfAttachError } from '../core/errors.ts';
import { nearestOfMany } from '../core/nearest.ts';

// The programs and shared libraries whose functions are probed: their paths, symbols and USDT probes.

const MULTIARCH: Readonly<Record<string, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
  s390x: 's390x-linux-gnu',
  ppc64: 'powerpc64le-linux-gnu',
};

/** Resolves a path, or a name: of a program on PATH, of a `.so` file in the library folders. */
export function binaryPath(what: string, binary: string): string {
  if (typeof binary !== 'string' || binary === '' || binary.includes('\0')) {
    throw new TypeError(`Expected a path for binary but received ${JSON.stringify(binary)}`);
  }
  const found = binary.includes('/') ? resolve(binary) : onPath(binary);
  if (found === undefined || !existsSync(found)) {
    throw new EbpfAttachError(`${what}: there is no such file`, { code: 'ENOENT', target: binary });
  }
  if (!statSync(found).isFile()) {
    throw new EbpfAttachError(`${what}: not a regular file`, { code: 'ERR_EBPF_NOT_ELF', target: binary });
  }
  return found;
}

function onPath(name: string): string | undefined {
  const triplet = MULTIARCH[process.arch] ?? '';
  const folders = /\.so(\.|$)/.test(name)
    ? [
        ...(process.env.LD_LIBRARY_PATH ?? '').split(delimiter),
        '/usr/lib64',
        '/usr/lib',
        '/lib',
        `/usr/lib/${triplet}`,
        `/lib/${triplet}`,
      ]
    : [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin'];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/** The offset in the file at which the function begins. */
export function symbolOffset(what: string, path: string, symbol: string): number {
  const found = asked(what, path, () => native().userSymbol(path, symbol));
  const [offset] = found;
  if (offset === undefined) {
    const near = nearestOfMany(
      symbol,
      asked(what, path, () => native().userSymbols(path)),
    );
    throw new EbpfAttachError(`${what}: ${path} has no function ${symbol}`, {
      code: 'ERR_EBPF_NO_SYMBOL',
      target: symbol,
      hint:
        near.length > 0
          ? `there are ${near.join(', ')}`
          : 'a stripped file has few symbols: pass offset instead',
    });
  }
  if (found.length > 1) {
    const offsets = found.map((each) => `0x${each.toString(16)}`).join(', ');
    throw new EbpfAttachError(`${what}: ${path} has several functions ${symbol}`, {
      code: 'ERR_EBPF_AMBIGUOUS',
      target: symbol,
      hint: `omit symbol, and pass one of their offsets: ${offsets}`,
    });
  }
  return offset;
}

export function noUsdt(what: string, path: string, probe: string): EbpfAttachError {
  const all = asked(what, path, () => native().userProbes(path));
  const near = nearestOfMany(probe, all);
  return new EbpfAttachError(`${what}: ${path} has no such probe`, {
    code: 'ERR_EBPF_NO_USDT',
    target: probe,
    hint:
      all.length === 0
        ? 'it has no probes'
        : `there are ${(near.length > 0 ? near : all.slice(0, 5)).join(', ')}`,
  });
}

function asked<T>(what: string, path: string, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    const { words, options } = describeFailure(error, path);
    throw new EbpfAttachError(`${what}: ${path}: ${words}`, { ...options, target: path });
  }
}
