import { describeFailure, EbpfAttachError, type EbpfError } from '../core/errors.ts';
import { requireType } from './failure.ts';

/**
 * Checks the arguments of attachSocket().
 *
 * @throws EbpfAttachError `ERR_EBPF_PROGRAM_TYPE`
 */
export function checkSocketProgram(what: string, program: { type: string }, fd: number): void {
  if (!Number.isInteger(fd) || fd < 0) {
    throw new TypeError(`Expected a socket's descriptor but received ${String(fd)}`);
  }
  requireType(what, program, ['socket_filter'], `descriptor ${fd}`);
}

const REASONS: Readonly<Record<string, { words: string; hint?: string }>> = {
  EBADF: { words: 'not an open descriptor' },
  ENOTSOCK: { words: 'not a socket' },
  EEXIST: { words: 'the socket has a filter', hint: 'detach it first: SO_ATTACH_BPF would replace it' },
  // SO_LOCK_FILTER, by which a socket's owner locks its filter for good.
  EPERM: { words: "the socket's filter is locked" },
};

/** The public error of a failed attempt to attach to a socket. */
export function socketFailure(what: string, program: string, fd: number, error: unknown): EbpfError {
  const { words, options } = describeFailure(error, `program ${program}`);
  const reason = REASONS[options.code] ?? { words };
  return new EbpfAttachError(`${what}: ${reason.words}`, {
    ...options,
    target: `descriptor ${fd}`,
    hint: reason.hint,
  });
}
