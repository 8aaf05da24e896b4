import { EbpfNotSupportedError } from '../core/errors.ts';

/** A system call that can be measured. */
export type SyscallName = 'read' | 'write' | 'sendto' | 'recvfrom' | 'connect' | 'accept' | 'accept4';

/** The rows of syscall_latency, in order (bpf/syscall_latency.h). */
export const SYSCALLS: readonly SyscallName[] = [
  'read',
  'write',
  'sendto',
  'recvfrom',
  'connect',
  'accept',
  'accept4',
];

const TABLE_SIZE = 512; // SYSCALL_NUMBERS

// The numbers of 64-bit programs: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
const NUMBERS: Readonly<Record<string, Readonly<Record<SyscallName, number>>>> = {
  x64: { read: 0, write: 1, sendto: 44, recvfrom: 45, connect: 42, accept: 43, accept4: 288 },
  arm64: { read: 63, write: 64, sendto: 206, recvfrom: 207, connect: 203, accept: 202, accept4: 242 },
};

/**
 * The table in which the programs look a number up: its row plus 1, or 0.
 *
 * @throws EbpfNotSupportedError where the numbers of the architecture are not known
 */
export function rowsByNumber(names: readonly SyscallName[], arch: string = process.arch): Uint8Array {
  const numbers = Object.hasOwn(NUMBERS, arch) ? NUMBERS[arch] : undefined;
  if (!numbers) {
    throw new EbpfNotSupportedError(`measure system calls: their numbers on ${arch} are not known`, {
      feature: `system calls of ${arch}`,
      hint: `it is for ${Object.keys(NUMBERS).join(' and ')}`,
    });
  }
  const rows = new Uint8Array(TABLE_SIZE);
  for (const name of names) rows[numbers[name]] = SYSCALLS.indexOf(name) + 1;
  return rows;
}

/** A system call of this architecture by its number: its name, where it is one that can be measured, else the number. @internal */
export function syscallWord(number: number, arch: string = process.arch): string {
  const numbers = Object.hasOwn(NUMBERS, arch) ? NUMBERS[arch] : undefined;
  const known = numbers && Object.entries(numbers).find(([, known]) => known === number);
  return known ? known[0] : String(number);
}
