import { readFileSync } from 'node:fs';
import { EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { nearestOfMany } from '../core/nearest.ts';
import { tracefs } from './tracefs.ts';

// The names of the kernel's functions: those that can be probed are in tracefs, all are in /proc/kallsyms.

/** Functions that ftrace can stop at; undefined where tracefs is not mounted, or not ours to read. */
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

/** Every function that the kernel and its modules have; addresses are hidden, and names are not. */
export function kernelFunctions(): string[] {
  try {
    return linesOf('/proc/kallsyms').flatMap((line) => /^\S+ [tT] (\S+)/.exec(line)?.[1] ?? []);
  } catch {
    return [];
  }
}

/** @param of the part of a function's name that people know it by: `openat` of `__x64_sys_openat` */
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

/** Functions whose names match, each once; `*` is any letters, `?` is one. */
export function functionsMatching(what: string, pattern: string): string[] {
  const names = traceable();
  if (names === undefined) {
    throw new EbpfNotSupportedError(
      `${what}: tracefs cannot be read, and it alone lists what can be probed`,
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
