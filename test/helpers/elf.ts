import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

// Objects made for a test: compiled by clang-14, then perhaps patched.

export interface Section {
  name: string;
  index: number;
  /** Of its header in the file. */
  header: number;
  offset: number;
  size: number;
}

const HEADERS = { offset: 0x28, count: 0x3c, names: 0x3e, size: 64 };
const SYMBOL_SIZE = 24;

export function sections(object: Buffer): Section[] {
  const table = Number(object.readBigUInt64LE(HEADERS.offset));
  const count = object.readUInt16LE(HEADERS.count);
  const headerAt = (index: number) => table + index * HEADERS.size;
  const names = Number(object.readBigUInt64LE(headerAt(object.readUInt16LE(HEADERS.names)) + 0x18));
  return Array.from({ length: count }, (_, index) => {
    const header = headerAt(index);
    const name = names + object.readUInt32LE(header);
    return {
      name: object.toString('latin1', name, object.indexOf(0, name)),
      index,
      header,
      offset: Number(object.readBigUInt64LE(header + 0x18)),
      size: Number(object.readBigUInt64LE(header + 0x20)),
    };
  });
}

export function section(object: Buffer, name: string): Section {
  const found = sections(object).find((entry) => entry.name === name);
  if (!found) throw new Error(`the object has no section ${name}`);
  return found;
}

/** The offset in the file of the symbol called `name`. */
export function symbol(object: Buffer, name: string): number {
  const { offset, size } = section(object, '.symtab');
  const names = section(object, '.strtab').offset;
  for (let at = offset; at < offset + size; at += SYMBOL_SIZE) {
    const start = names + object.readUInt32LE(at);
    if (object.toString('latin1', start, object.indexOf(0, start)) === name) return at;
  }
  throw new Error(`the object has no symbol ${name}`);
}

/** A copy that `change` has changed. */
export function patched(object: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(object);
  change(copy);
  return copy;
}

/** A copy with every occurrence of a string replaced by another one of its length. */
export function renamed(object: Buffer, from: string, to: string): Buffer {
  return patched(object, (copy) => {
    for (let at = copy.indexOf(from); at >= 0; at = copy.indexOf(from, at + 1)) copy.write(to, at, 'latin1');
  });
}

/** One BPF instruction of 8 bytes. */
export function instruction(code: number, dst = 0, src = 0, off = 0, imm = 0): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8(dst | (src << 4), 1);
  bytes.writeInt16LE(off, 2);
  bytes.writeInt32LE(imm, 4);
  return bytes;
}

export const EXIT = instruction(0x95);

const MACHINE = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const root = resolve(import.meta.dirname, '../..');
const HEAD = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
`;
export const GPL_LICENSE = 'char LICENSE[] SEC("license") = "GPL";\n';

const made = new Map<string, Buffer>();

/** Compiles C for BPF, with libbpf's headers and the licence "GPL" unless told. The same source gives the same bytes. */
export function compile(source: string, { license = GPL_LICENSE, flags = ['-g'] } = {}): Buffer {
  const text = `${HEAD}${source}\n${license}`;
  const key = [...flags, text].join('\0');
  const known = made.get(key);
  if (known) return known;
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-object-'));
  try {
    const input = join(folder, 'made.bpf.c');
    const output = join(folder, 'made.bpf.o');
    writeFileSync(input, text);
    const include = [
      '-I',
      join(root, '.cache/libbpf/headers'),
      '-idirafter',
      `/usr/include/${MACHINE}-linux-gnu`,
    ];
    execFileSync('clang-14', [
      '-target',
      'bpf',
      '-mcpu=v2',
      '-O2',
      ...flags,
      ...include,
      '-c',
      input,
      '-o',
      output,
    ]);
    if (flags.includes('-g')) execFileSync('llvm-strip-14', ['-g', output]);
    const object = readFileSync(output);
    made.set(key, object);
    return object;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Room for 16 instructions in the section xdp, all of them `r0 = 0` but the last. */
const ROOM = `SEC("xdp") int f(void *c)
{
	asm volatile("${'r0 = 0;'.repeat(14)}");
	return 0;
}`;

/** An XDP program that begins with these instructions; what follows them is `r0 = 0`, and `exit` at the end. */
export function assemble(...instructions: Buffer[]): Buffer {
  const object = compile(ROOM);
  const code = section(object, 'xdp');
  const bytes = Buffer.concat(instructions);
  if (bytes.length > code.size) throw new Error('the instructions do not fit');
  return patched(object, (copy) => bytes.copy(copy, code.offset));
}
