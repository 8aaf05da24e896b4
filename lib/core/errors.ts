import { constants } from 'node:os';
import type { Finding } from './finding.ts';
import type { TriedMode } from './xdp-mode.ts';

/** The parts of an EbpfError besides its message. Each becomes the error's member of the same name. */
export interface EbpfErrorOptions {
  /** An errno name (`EBUSY`) or an `ERR_EBPF_*`. */
  code: string;
  /** The kernel's error number, positive. */
  errno?: number | undefined;
  /** The system call or libbpf function that failed. */
  syscall?: string | undefined;
  /** One sentence that says what to do about the error. */
  hint?: string | undefined;
  /** The error that caused this one. */
  cause?: unknown;
}

/**
 * The base class of every error that this package throws, except TypeError and RangeError for arguments of
 * the wrong type or size. `code` is an errno name (`EBUSY`) or an `ERR_EBPF_*`: switch on it as with errors
 * of node:fs.
 *
 * @example
 * try {
 *   program.attachXdp({ iface: 'eth0' });
 * } catch (error) {
 *   if (error instanceof EbpfError && error.code === 'EBUSY') console.error(error.message, error.hint);
 *   else throw error;
 * }
 */
export class EbpfError extends Error {
  /** An errno name (`EBUSY`) or an `ERR_EBPF_*`. docs/errors.md explains each. */
  readonly code: string;
  /** The kernel's error number, positive. Absent if the error did not come from the kernel. */
  declare readonly errno?: number;
  /** The system call or libbpf function that failed. */
  declare readonly syscall?: string;
  /** One sentence that says what to do about the error. */
  declare readonly hint?: string;

  constructor(message: string, options: EbpfErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    if (options.errno !== undefined) this.errno = options.errno;
    if (options.syscall !== undefined) this.syscall = options.syscall;
    if (options.hint !== undefined) this.hint = options.hint;
  }

  static {
    EbpfError.prototype.name = 'EbpfError';
  }
}

/** Thrown if a file or bytes are not a loadable object, before any bpf(2) call. */
export class EbpfValidationError extends EbpfError {
  /** The rules that the file breaks. At least one is an error. */
  readonly findings: readonly Finding[];

  constructor(message: string, options: Partial<EbpfErrorOptions> & { findings: readonly Finding[] }) {
    super(message, { code: 'ERR_EBPF_INVALID_OBJECT', ...options });
    this.findings = options.findings;
  }

  static {
    EbpfValidationError.prototype.name = 'EbpfValidationError';
  }
}

/** Thrown if the kernel refuses to load an object, or the object has no program that fits. */
export class EbpfLoadError extends EbpfError {
  /** The name of the program that the kernel refused. */
  declare readonly program?: string;
  /** The line of the verifier's log that explains the refusal. */
  declare readonly summary?: string;
  /** The source line that the verifier refused, if BTF has it: `counter.bpf.c:11: return frame[12];` */
  declare readonly source?: string;
  /** The verifier's whole log. */
  declare readonly verifierLog?: string;

  constructor(
    message: string,
    options: EbpfErrorOptions & {
      program?: string | undefined;
      summary?: string | undefined;
      source?: string | undefined;
      verifierLog?: string | undefined;
    },
  ) {
    super(message, options);
    if (options.program !== undefined) this.program = options.program;
    if (options.summary !== undefined) this.summary = options.summary;
    if (options.source !== undefined) this.source = options.source;
    if (options.verifierLog !== undefined) this.verifierLog = options.verifierLog;
  }

  static {
    EbpfLoadError.prototype.name = 'EbpfLoadError';
  }
}

/**
 * The program that is attached to a hook. Reading `name`, and for an XDP hook `linkId`, needs CAP_SYS_ADMIN:
 * they are absent without it.
 */
export interface Holder {
  /** The program's id, which the option `replace` takes. */
  programId: number;
  /** The id of its link. Absent for a netlink attachment, and if the kernel does not report it. */
  linkId?: number;
  /** The program's name, of which the kernel keeps 15 characters. */
  name?: string;
}

/** Thrown if an attachment cannot be made, changed or removed. What was attached before is unchanged. */
export class EbpfAttachError extends EbpfError {
  /** The interface, function, path or other target of the attachment. */
  readonly target: string;
  /** Every XDP mode that was tried, with its error code. Absent if only one was tried. */
  declare readonly tried?: readonly TriedMode[];
  /**
   * The program that holds the hook: with EBUSY, EEXIST and `ERR_EBPF_REPLACED`, if the kernel reports it.
   */
  declare readonly holder?: Holder;

  constructor(
    message: string,
    options: EbpfErrorOptions & {
      target: string;
      tried?: readonly TriedMode[] | undefined;
      holder?: Holder | undefined;
    },
  ) {
    super(message, options);
    this.target = options.target;
    if (options.tried !== undefined) this.tried = options.tried;
    if (options.holder !== undefined) this.holder = options.holder;
  }

  static {
    EbpfAttachError.prototype.name = 'EbpfAttachError';
  }
}

/** Thrown if an operation on a map fails. An absent key is not an error. */
export class EbpfMapError extends EbpfError {
  /** The map's name, or the name that was passed to create(). */
  readonly map: string;

  constructor(message: string, options: EbpfErrorOptions & { map: string }) {
    super(message, options);
    this.map = options.map;
  }

  static {
    EbpfMapError.prototype.name = 'EbpfMapError';
  }
}

/** Thrown if the kernel refuses an operation with EPERM or EACCES. */
export class EbpfPermissionError extends EbpfError {
  /**
   * The capabilities that the operation needs and the process lacks, such as `CAP_BPF`. Empty if it lacks
   * none: then `hint` says what refused the operation, as far as that can be found out.
   */
  readonly missing: readonly string[];

  constructor(message: string, options: Partial<EbpfErrorOptions> & { missing: readonly string[] }) {
    super(message, { code: 'EPERM', ...options });
    this.missing = options.missing;
  }

  static {
    EbpfPermissionError.prototype.name = 'EbpfPermissionError';
  }
}

/** Thrown if this platform, kernel or build does not support the operation. */
export class EbpfNotSupportedError extends EbpfError {
  /** The missing feature, in a few words: `tcx`, `kprobe.multi`, `addon`. */
  readonly feature: string;
  /**
   * The oldest Linux that has it: `6.6`. Absent if that is unknown, or if a newer kernel alone is not enough.
   */
  declare readonly minKernel?: string;

  constructor(
    message: string,
    options: Partial<EbpfErrorOptions> & { feature: string; minKernel?: string | undefined },
  ) {
    super(message, { code: 'ERR_EBPF_NOT_SUPPORTED', ...options });
    this.feature = options.feature;
    if (options.minKernel !== undefined) this.minKernel = options.minKernel;
  }

  static {
    EbpfNotSupportedError.prototype.name = 'EbpfNotSupportedError';
  }
}

/**
 * Thrown if a handle is used after close(), or the state of the object or process does not allow the call.
 */
export class EbpfStateError extends EbpfError {
  /**
   * `closed`; `reading` for a reader whose readAsync() has not finished; `privileged` for a process that
   * dropPrivileges() could not make unprivileged.
   */
  readonly state: string;

  constructor(message: string, options: Partial<EbpfErrorOptions> & { state: string }) {
    super(message, { code: 'ERR_EBPF_STATE', ...options });
    this.state = options.state;
  }

  static {
    EbpfStateError.prototype.name = 'EbpfStateError';
  }
}

/** An error that native code throws (native/base/errors.h). */
export interface NativeFailure extends Error {
  code?: string;
  errno?: number;
  operation: string;
  log?: string[];
}

export function isNativeFailure(error: unknown): error is NativeFailure {
  return error instanceof Error && typeof (error as Partial<NativeFailure>).operation === 'string';
}

// A few numbers have two names. These are the ones that the kernel's documentation uses.
const { EAGAIN, EDEADLK, EOPNOTSUPP } = constants.errno;
const ERRNO_NAMES = new Map<number, string>([
  // Internal to the kernel and unknown to libc: a map type does not have the operation.
  [524, 'ENOTSUPP'],
  ...Object.entries(constants.errno).map(([name, number]) => [number, name] as const),
  ...([
    [EAGAIN, 'EAGAIN'],
    [EDEADLK, 'EDEADLK'],
    [EOPNOTSUPP, 'EOPNOTSUPP'],
  ] as const),
]);

/** The name of a positive errno: `errnoName(16)` is `'EBUSY'`. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `E${errno}`;
}

/** The parts of a native failure, from which a public error is made. */
export interface DescribedFailure {
  /** The message, with its first letter in lower case. */
  words: string;
  /** The lines that libbpf logged during the call. */
  log: readonly string[];
  /** The error's code, errno and system call, for the options of an EbpfError. */
  options: EbpfErrorOptions;
}

/**
 * Describes the failure of native code that was working on `noun`.
 *
 * @throws EbpfStateError if `noun` was closed
 * @throws the error itself if it is not a failure of native code, such as a RangeError
 */
export function describeFailure(error: unknown, noun: string): DescribedFailure {
  if (!isNativeFailure(error)) throw error;
  if (error.code === 'ERR_EBPF_CLOSED') throw new EbpfStateError(`${noun} is closed`, { state: 'closed' });
  return {
    words: error.message.charAt(0).toLowerCase() + error.message.slice(1),
    log: error.log ?? [],
    options: {
      code: error.code ?? errnoName(error.errno ?? 0),
      errno: error.errno,
      syscall: error.operation,
    },
  };
}

/**
 * Adds the message that netlink gave, if any, to `words`: "native and generic XDP can't be active at the same
 * time".
 */
export function withKernelWords(words: string, log: readonly string[]): string {
  const kernel = log.map((line) => /Kernel error message: (.*)/.exec(line)?.[1]).find(Boolean);
  return kernel ? `${words}: ${kernel}` : words;
}
