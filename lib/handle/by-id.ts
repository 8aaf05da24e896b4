import { describeFailure, EbpfError } from '../core/errors.ts';
import { permissionError } from '../kernel/capabilities.ts';

/** A handle of what the kernel numbers `id`. */
export function openId<T>(noun: string, id: number, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw byIdFailure(`open ${noun} ${id}`, error);
  }
}

/** What the kernel says to a query by id, which takes CAP_SYS_ADMIN. */
export function byIdFailure(what: string, error: unknown): EbpfError {
  const { words, options } = describeFailure(error, what);
  if (options.code === 'EPERM') return permissionError(`${what}: ${words}`, options, ['CAP_SYS_ADMIN']);
  const gone = options.code === 'ENOENT';
  return new EbpfError(`${what}: ${gone ? 'the kernel knows no such id' : words}`, options);
}
