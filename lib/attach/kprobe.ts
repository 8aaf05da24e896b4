import {
  describeFailure,
  EbpfAttachError,
  EbpfNotSupportedError,
  errnoName,
  isNativeFailure,
} from '../core/errors.ts';
import { functionsMatching, kernelFunctions, noFunction } from '../kernel/functions.ts';
import { probeKind } from '../kernel/probe-events.ts';
import { kernelBefore } from '../kernel/release.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';

// Kprobes: on one function of the kernel, on several at once, or on a system call.

/** Options of attachKprobe(). */
export interface KprobeOptions {
  /** Attach to the function's return instead of its start. Default false. */
  ret?: boolean;
  /** Offset of an instruction in the function, in bytes. Default 0. */
  offset?: number;
  /** The value that bpf_get_attach_cookie() returns in the program (kernel 5.15). */
  cookie?: bigint;
}

/** Options of attachKprobeMulti(). */
export interface KprobeMultiOptions {
  /** Attach to the functions' returns instead of their starts. Default false. */
  ret?: boolean;
  /** The values that bpf_get_attach_cookie() returns in the program, one for each function. */
  cookies?: readonly bigint[];
}

/** Attaches to `fn`, or to the first of several names that the kernel has. @internal */
export function attachKprobe(
  program: ProgramRef,
  fn: string | readonly string[],
  { ret = false, offset = 0, cookie }: KprobeOptions,
): Attached {
  const names = functionNames(fn);
  const what = `attach ${program.name} to ${names.join(', ')}`;
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new RangeError(`Expected an integer from 0 for offset but received ${String(offset)}`);
  }
  if (ret && offset !== 0) throw new TypeError('Expected no offset with ret, which is for a whole function');
  requireType(what, program, ['kprobe'], names.join(', '));
  requireCookies(what, cookie);
  return attachFirst(what, program, names, { ret, offset, cookie }, () => noFunction(what, names));
}

/** Attaches to the function that the kernel's entry code calls for a system call. @internal */
export function attachSyscall(program: ProgramRef, name: string, ret: boolean): Attached {
  const what = `attach ${program.name} to system call ${name}`;
  if (typeof name !== 'string' || !/^\w+$/.test(name)) {
    throw new TypeError(`Expected a system call's name but received ${JSON.stringify(name)}`);
  }
  requireType(what, program, ['kprobe'], name);
  const names = SYSCALL_PREFIXES.map((prefix) => `${prefix}${name}`);
  return attachFirst(what, program, names, { ret, offset: 0 }, () => {
    const short = (long: string) => {
      const prefix = SYSCALL_PREFIXES.find((start) => long.startsWith(start));
      return prefix === undefined ? undefined : long.slice(prefix.length);
    };
    return noFunction(what, [name], short);
  });
}

// Names of the wrappers since 4.17 (arch/*/include/asm/syscall_wrapper.h). Without wrappers, as on powerpc
// before 6.1: sys_.
const WRAPPED: Readonly<Record<string, string>> = {
  x64: '__x64_sys_',
  arm64: '__arm64_sys_',
  riscv64: '__riscv_sys_',
  s390x: '__s390x_sys_',
};
const SYSCALL_PREFIXES = [WRAPPED[process.arch], '__se_sys_', 'sys_'].filter(
  (prefix) => prefix !== undefined,
);

function attachFirst(
  what: string,
  program: ProgramRef,
  names: readonly string[],
  { ret, offset, cookie }: { ret: boolean; offset: number; cookie?: bigint | undefined },
  none: () => EbpfAttachError,
): Attached {
  const { pmu, returnBit } = probeKind(what, 'kprobe', ret);
  for (const name of names) {
    const target = offset === 0 ? name : `${name}+0x${offset.toString(16)}`;
    try {
      const native = program.native.attachKprobe(pmu, returnBit, name, BigInt(offset), cookie);
      return { native, target };
    } catch (error) {
      if (isNativeFailure(error) && errnoName(error.errno ?? 0) === 'ENOENT') continue;
      throw attachFailure(what, program.name, { kind: 'kprobe', target }, error, { hints: HINTS });
    }
  }
  throw none();
}

const HINTS: Readonly<Record<string, string>> = {
  EINVAL:
    'the kernel does not allow probes on some functions: those that tracing itself uses, and inlined ones',
  EILSEQ: 'offset is not at the start of an instruction',
  EADDRNOTAVAIL: 'the kernel has several functions of this name',
};

/** Attaches to many functions with one link. @internal */
export function attachKprobeMulti(
  program: ProgramRef,
  fns: readonly string[] | { pattern: string },
  { ret = false, cookies }: KprobeMultiOptions,
): Attached {
  const pattern = 'pattern' in fns ? fns.pattern : undefined;
  const target = pattern ?? functionNames(fns as readonly string[]).join(', ');
  const what = `attach ${program.name} to ${target}`;
  if (pattern !== undefined && (typeof pattern !== 'string' || !/^[\w.*?]+$/.test(pattern))) {
    throw new TypeError(`Expected a pattern of letters, * and ? but received ${JSON.stringify(pattern)}`);
  }
  requireType(what, program, ['kprobe'], target);
  if (pattern !== undefined && cookies !== undefined) {
    throw new TypeError('Expected no cookies with a pattern, whose matches have no order');
  }
  const names =
    pattern === undefined ? functionNames(fns as readonly string[]) : functionsMatching(what, pattern);
  if (names.length === 0) throw noFunction(what, [target]);
  if (cookies !== undefined && cookies.length !== names.length) {
    throw new RangeError(
      `Expected a cookie for each of ${names.length} functions but received ${cookies.length}`,
    );
  }
  try {
    return { native: program.native.attachKprobeMulti(names, ret, cookies ?? []), target };
  } catch (error) {
    throw multiFailure(what, program, names, target, error);
  }
}

function multiFailure(
  what: string,
  program: ProgramRef,
  names: readonly string[],
  target: string,
  error: unknown,
) {
  const { words, options } = describeFailure(error, `program ${program.name}`);
  // The kernel gives ESRCH, or ENOENT before 5.19, and does not say for which function.
  if (options.code === 'ESRCH' || options.code === 'ENOENT') {
    const known = new Set(kernelFunctions());
    const unknown = names.filter((name) => !known.has(name));
    if (unknown.length > 0) return noFunction(what, unknown);
    const hint = 'the kernel has all of them, but does not allow probes on some';
    return new EbpfAttachError(`${what}: ${words}`, { ...options, target, hint });
  }
  if (options.code === 'EINVAL' && kernelBefore('5.18')) {
    return new EbpfNotSupportedError(`${what}: this kernel can attach to only one function at a time`, {
      ...options,
      feature: 'kprobe.multi',
      minKernel: '5.18',
    });
  }
  return attachFailure(what, program.name, { kind: 'kprobe.multi', target }, error);
}

/** Throws if the kernel has no attach cookies, which came with the links of perf events. @internal */
export function requireCookies(what: string, cookie: bigint | undefined): void {
  if (cookie === undefined || !kernelBefore('5.15')) return;
  throw new EbpfNotSupportedError(`${what}: this kernel has no attach cookies`, {
    feature: 'attach cookie',
    minKernel: '5.15',
  });
}

function functionNames(fn: string | readonly string[]): readonly string[] {
  const names = typeof fn === 'string' ? [fn] : fn;
  const fit = Array.isArray(names) && names.length > 0;
  if (!fit || names.some((name) => typeof name !== 'string' || !/^[\w.$:]+$/.test(name))) {
    throw new TypeError(`Expected names of functions but received ${JSON.stringify(fn)}`);
  }
  return names;
}
