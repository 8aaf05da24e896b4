import { constants } from 'node:os';
import type { Finding } from './finding.ts';
import type { TriedMode } from './xdp-mode.ts';

/** What an EbpfError is made of besides its message: each becomes its member of the same name. */
export interface EbpfErrorOptions {
  /** An errno name or an `ERR_EBPF_*`. */
  code: string;
  /** Positive. */
  errno?: number | undefined;
  /** The system call or libbpf function that failed. */
  syscall?: string | undefined;
  /** What to do about it, one sentence. */
  hint?: string | undefined;
  /** The error behind it. */
  cause?: unknown;
}

/**
 * The base of every error that this package throws, except TypeError and RangeError for arguments of the wrong type
 * or size. `code` is an errno name (`EBUSY`) or an `ERR_EBPF_*`, so that callers switch on it as with node:fs.
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
  /** An errno name (`EBUSY`) or an `ERR_EBPF_*`: docs/errors.md says what they mean. */
  readonly code: string;
  /** Positive, where the kernel gave one. */
  declare readonly errno?: number;
  /** The system call or libbpf function that failed. */
  declare readonly syscall?: string;
  /** What to do about it, one sentence. */
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

/** A file or its bytes are not a loadable object; nothing was asked of the kernel. `findings` says which rules broke. */
export class EbpfValidationError extends EbpfError {
  /** The rules that it breaks; at least one is an error. */
  readonly findings: readonly Finding[];

  constructor(message: string, options: Partial<EbpfErrorOptions> & { findings: readonly Finding[] }) {
    super(message, { code: 'ERR_EBPF_INVALID_OBJECT', ...options });
    this.findings = options.findings;
  }

  static {
    EbpfValidationError.prototype.name = 'EbpfValidationError';
  }
}

/** The kernel refused to load an object, or it holds no program that fits. */
export class EbpfLoadError extends EbpfError {
  /** The program that was refused. */
  declare readonly program?: string;
  /** The line of the verifier's log that explains. */
  declare readonly summary?: string;
  /** The source line that it is about, where BTF has it: `counter.bpf.c:11: return frame[12];` */
  declare readonly source?: string;
  /** The whole log. */
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

/** Who holds a hook. Without CAP_SYS_ADMIN the kernel does not tell `name`, and of an XDP hook not `linkId` either. */
export interface Holder {
  /** The kernel's number, which `replace` takes. */
  programId: number;
  /** Absent where a netlink attachment holds the hook, or the kernel does not tell. */
  linkId?: number;
  /** The program's, as the kernel keeps it: 15 characters. */
  name?: string;
}

/** An attachment could not be made, changed or removed. Nothing that was attached has been touched. */
export class EbpfAttachError extends EbpfError {
  /** The interface, or what else was meant. */
  readonly target: string;
  /** Every mode that was tried, with the code it gave; absent where that was one alone. */
  declare readonly tried?: readonly TriedMode[];
  /** Who has the hook: with EBUSY, EEXIST and `ERR_EBPF_REPLACED`, where the kernel tells. */
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

/** An operation on a map failed. An absent key is no error. */
export class EbpfMapError extends EbpfError {
  /** The map's name; of one that create() could not make, the name that it was to have. */
  readonly map: string;

  constructor(message: string, options: EbpfErrorOptions & { map: string }) {
    super(message, options);
    this.map = options.map;
  }

  static {
    EbpfMapError.prototype.name = 'EbpfMapError';
  }
}

/** The kernel said EPERM or EACCES. `missing` names the capabilities that the process lacks for it; it may be empty. */
export class EbpfPermissionError extends EbpfError {
  /** As `CAP_BPF`. Empty where no capability is what lacks: `hint` says what refused, as far as can be told. */
  readonly missing: readonly string[];

  constructor(message: string, options: Partial<EbpfErrorOptions> & { missing: readonly string[] }) {
    super(message, { code: 'EPERM', ...options });
    this.missing = options.missing;
  }

  static {
    EbpfPermissionError.prototype.name = 'EbpfPermissionError';
  }
}

/** This platform, kernel or build cannot do it. */
export class EbpfNotSupportedError extends EbpfError {
  /** What is not there, in a few words: `tcx`, `kprobe.multi`, `addon`. */
  readonly feature: string;
  /** The oldest Linux that has it: `6.6`. Absent where that is not known, or a newer kernel alone does not bring it. */
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

/** A handle was used after close(), or a program in a state that does not allow the call. */
export class EbpfStateError extends EbpfError {
  /**
   * `closed`; `reading`, of a reader that readAsync() is at work on; `privileged`, of a process that dropPrivileges()
   * left so.
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

/** What native code throws: native/base/errors.h. */
export interface NativeFailure extends Error {
  code?: string;
  errno?: number;
  operation: string;
  log?: string[];
}

export function isNativeFailure(error: unknown): error is NativeFailure {
  return error instanceof Error && typeof (error as Partial<NativeFailure>).operation === 'string';
}

// Two names share a number in a few places: the kernel's documentation uses these.
const { EAGAIN, EDEADLK, EOPNOTSUPP } = constants.errno;
const ERRNO_NAMES = new Map<number, string>([
  // The kernel's own, which libc does not know: an operation that a map type does not have.
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

/** A failure of native code, in the parts of which a public error is made. */
export interface DescribedFailure {
  /** The error's text, in lower case at its beginning. */
  words: string;
  /** What libbpf logged during the call. */
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

/** `words` with the sentence that netlink gave, where it gave one: "native and generic XDP can't be active at the same time". */
export function withKernelWords(words: string, log: readonly string[]): string {
  const kernel = log.map((line) => /Kernel error message: (.*)/.exec(line)?.[1]).find(Boolean);
  return kernel ? `${words}: ${kernel}` : words;
}
