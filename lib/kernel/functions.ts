import { readFileSync } from 'node:fs';
import { EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { nearestOfMany } from '../core/nearest.ts';
import { tracefs } from './tracefs.ts';

// The names of the kernel's functions: tracefs lists those that can be probed, /proc/kallsyms lists all.

/** The functions that ftrace can trace; undefined if tracefs is not mounted or not readable. */
function traceable(): string[] | undefined {
  const root = tracefs();
  if (root === undefined) return undefined;
  try {
    return linesOf(`${root}/available_filter_functions`)
      .map((line) => line.split(' ', 1)[0] ?? '')
      .filter((name) => name !== '' && !name.startsWith('__ftrace_invalid_address__'));
  } catch {
    return undefined;
  }
}

/**
 * Every function of the kernel and its modules. Unprivileged processes see the names, but not the addresses.
 */
export function kernelFunctions(): string[] {
  try {
    return linesOf('/proc/kallsyms').flatMap((line) => /^\S+ [tT] (\S+)/.exec(line)?.[1] ?? []);
  } catch {
    return [];
  }
}

/**
 * The error for functions that the kernel does not have, with near names.
 *
 * @param of extracts the well-known part of a function's name: `openat` from `__x64_sys_openat`
 */
export function noFunction(
  what: string,
  wanted: readonly string[],
  of: (name: string) => string | undefined = (name) => name,
): EbpfAttachError {
  const names = new Set((traceable() ?? kernelFunctions()).flatMap((name) => of(name) ?? []));
  const near = nearestOfMany(wanted[0] ?? '', [...names]);
  return new EbpfAttachError(`${what}: the kernel has no function ${wanted.join(', ')}`, {
    code: 'ERR_EBPF_NO_FUNCTION',
    target: wanted.join(', '),
    hint: near.length > 0 ? `there are ${near.join(', ')}` : undefined,
  });
}

/** The functions whose names match, each once. `*` matches any characters, `?` one. */
export function functionsMatching(what: string, pattern: string): string[] {
  const names = traceable();
  if (names === undefined) {
    throw new EbpfNotSupportedError(
      `${what}: tracefs cannot be read, and only it lists the functions that can be probed`,
      {
        feature: 'tracefs',
        hint: 'mount -t tracefs tracefs /sys/kernel/tracing',
      },
    );
  }
  const source = [...pattern].map((char) => GLOB[char] ?? char.replace(/[.+^${}()|[\]\\]/, '\\$&')).join('');
  const expression = new RegExp(`^${source}$`);
  return [...new Set(names.filter((name) => expression.test(name)))];
}

const GLOB: Readonly<Record<string, string>> = { '*': '.*', '?': '.' };

function linesOf(path: string): string[] {
  return readFileSync(path, 'latin1').split('\n');
}
