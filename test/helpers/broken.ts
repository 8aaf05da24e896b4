// Files that are no object, and the rule of docs/validation.md that each breaks.
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shippedObject } from './objects.ts';

export interface Broken {
  readonly what: string;
  readonly rule: string;
  /** Makes it in a folder and gives its path. */
  make(folder: string): string;
}

const object = () => readFileSync(shippedObject('xdp_counter'));

function file(folder: string, name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function patched(at: number, byte: number): Buffer {
  const copy = object();
  copy[at] = byte;
  return copy;
}

export const BROKEN: readonly Broken[] = [
  { what: 'missing', rule: 'file-missing', make: (folder) => join(folder, 'absent.o') },
  { what: 'empty', rule: 'elf-empty', make: (folder) => file(folder, 'empty.o', new Uint8Array()) },
  {
    what: 'a few bytes of an object',
    rule: 'elf-truncated',
    make: (folder) => file(folder, 'head.o', object().subarray(0, 40)),
  },
  {
    what: 'half an object',
    rule: 'elf-section-table',
    make: (folder) => file(folder, 'half.o', object().subarray(0, object().length >> 1)),
  },
  {
    what: 'garbage',
    rule: 'elf-magic',
    make: (folder) => file(folder, 'garbage.o', Buffer.alloc(4096, 'garbage')),
  },
  { what: 'a program for this machine', rule: 'elf-machine', make: () => '/bin/true' },
  {
    what: 'a big-endian object',
    rule: 'elf-byte-order',
    make: (folder) => file(folder, 'big.o', patched(5, 2)),
  },
  { what: 'a 32-bit object', rule: 'elf-class', make: (folder) => file(folder, 'narrow.o', patched(4, 1)) },
  { what: 'a linked BPF file', rule: 'elf-type', make: (folder) => file(folder, 'linked.o', patched(16, 2)) },
  { what: 'a folder', rule: 'file-type', make: (folder) => folder },
  {
    what: 'a FIFO that nobody writes',
    rule: 'file-type',
    make(folder) {
      execFileSync('mkfifo', [join(folder, 'fifo')]);
      return join(folder, 'fifo');
    },
  },
  { what: 'a device', rule: 'file-type', make: () => '/dev/zero' },
  {
    what: 'a sparse file of 1 GiB',
    rule: 'file-size',
    make(folder) {
      const path = join(folder, 'sparse.o');
      const fd = openSync(path, 'w');
      ftruncateSync(fd, 2 ** 30);
      closeSync(fd);
      return path;
    },
  },
];
