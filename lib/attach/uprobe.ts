import { existsSync } from 'node:fs';
import { describeFailure, EbpfAttachError, EbpfNotSupportedError } from '../core/errors.ts';
import { probeKind } from '../kernel/probe-events.ts';
import { binaryPath, noUsdt, symbolOffset } from '../kernel/user-binary.ts';
import type { ProgramRef } from '../link/program-ref.ts';
import { type Attached, attachFailure, requireType } from './failure.ts';
import { requireCookies } from './kprobe.ts';

// Uprobes and USDT probes: on functions of programs and shared libraries, and on probes in their source code.

/** A function or an offset in a program or a shared library. */
export interface UprobeOptions {
  /** A path, or a name: of a program on PATH, or of a library in the library folders, such as `libc.so.6`. */
  binary: string;
  /** The function's name. Without it, `offset` counts from the start of the file. */
  symbol?: string;
  /** Offset from the start of the function or of the file, in bytes. */
  offset?: number;
  /** Probe only this process. Default: every process that runs the file, now and later. */
  pid?: number;
  /** Attach to the function's return instead of its start. Default false. */
  ret?: boolean;
  /** The value that bpf_get_attach_cookie() returns in the program (kernel 5.15). */
  cookie?: bigint;
}

/** A USDT probe, which is in the source code of a program. */
export interface UsdtOptions {
  /** The program or library, as for attachUprobe(). */
  binary: string;
  /** The first argument of the probe's DTRACE_PROBE(): `postgresql`. */
  provider: string;
  /** The second argument: `query__start`. */
  name: string;
  /**
   * Probe only this process. Default: every process that runs the file (kernel 5.15 for shared libraries).
   */
  pid?: number;
}

/** @internal */
export function attachUprobe(program: ProgramRef, options: UprobeOptions): Attached {
  const { binary, symbol, offset, pid, ret = false, cookie } = options;
  const location = [symbol, offset === undefined ? undefined : `0x${offset.toString(16)}`]
    .filter(Boolean)
    .join('+');
  const what = `attach ${program.name} to ${binary}:${location}`;
  checkPid(pid);
  if (symbol === undefined && offset === undefined) throw new TypeError('Expected symbol or offset');
  if (symbol !== undefined && (typeof symbol !== 'string' || symbol === '')) {
    throw new TypeError(`Expected a function's name for symbol but received ${JSON.stringify(symbol)}`);
  }
  if (offset !== undefined && (!Number.isSafeInteger(offset) || offset < 0)) {
    throw new RangeError(`Expected an integer from 0 for offset but received ${String(offset)}`);
  }
  requireType(what, program, ['kprobe'], binary);
  const path = binaryPath(what, binary);
  const start = symbol === undefined ? 0 : symbolOffset(what, path, symbol);
  const { pmu, returnBit } = probeKind(what, 'uprobe', ret);
  requireCookies(what, cookie);
  const target = `${path}:${location}`;
  try {
    const native = program.native.attachUprobe(
      pmu,
      returnBit,
      path,
      BigInt(start + (offset ?? 0)),
      pid,
      cookie,
    );
    return { native, target };
  } catch (error) {
    throw uprobeFailure(what, program, { kind: 'uprobe', target }, pid, error);
  }
}

/** @internal */
export function attachUsdt(program: ProgramRef, { binary, provider, name, pid }: UsdtOptions): Attached {
  const probe = `${provider}:${name}`;
  const what = `attach ${program.name} to ${binary}:${probe}`;
  checkPid(pid);
  for (const [member, value] of Object.entries({ provider, name })) {
    if (typeof value !== 'string' || value === '') {
      throw new TypeError(`Expected a string for ${member} but received ${JSON.stringify(value)}`);
    }
  }
  requireType(what, program, ['kprobe'], probe);
  const path = binaryPath(what, binary);
  const target = `${path}:${probe}`;
  try {
    return { native: program.native.attachUsdt(path, provider, name, pid), target };
  } catch (error) {
    const { code } = describeFailure(error, `program ${program.name}`).options;
    if (code === 'ENOENT') throw noUsdt(what, path, probe);
    if (code === 'EOPNOTSUPP') throw usdtNotSupported(what, program, pid);
    throw uprobeFailure(what, program, { kind: 'usdt', target }, pid, error);
  }
}

function usdtNotSupported(what: string, program: ProgramRef, pid: number | undefined) {
  if (program.section === '') {
    return new EbpfAttachError(
      `${what}: it was opened by pin or id, but the probe's arguments are in its object's maps`,
      {
        code: 'ERR_EBPF_NO_OBJECT',
        target: program.name,
        hint: 'attach the program in the process that loads it',
      },
    );
  }
  return new EbpfNotSupportedError(`${what}: this kernel does not support it`, {
    feature: pid === undefined ? 'USDT without pid' : 'USDT',
    minKernel: '5.15',
    hint: pid === undefined ? 'pass pid' : undefined,
  });
}

function uprobeFailure(
  what: string,
  program: ProgramRef,
  at: { kind: string; target: string },
  pid: number | undefined,
  error: unknown,
) {
  const hints = pid === undefined ? HINTS : { ...HINTS, ESRCH: absence(pid) };
  return attachFailure(what, program.name, at, error, { hints });
}

// For a USDT probe of one process, libbpf looks the file up in /proc/PID/maps. Either case gives ESRCH.
function absence(pid: number): string {
  return existsSync(`/proc/${pid}`) ? `process ${pid} has not mapped the file` : `there is no process ${pid}`;
}

const HINTS: Readonly<Record<string, string>> = {
  EINVAL: 'the offset is not at the start of an instruction, or is beyond the end of the file',
  EIO: 'the offset is beyond the end of the file',
};

/** @internal */
export function checkPid(pid: number | undefined): void {
  if (pid === undefined || (Number.isInteger(pid) && pid > 0 && pid < 2 ** 31)) return;
  throw new RangeError(`Expected a process's number for pid but received ${String(pid)}`);
}
