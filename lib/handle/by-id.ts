import { describeFailure, EbpfError } from '../core/errors.ts';
import { permissionError } from '../kernel/capabilities.ts';

/** Opens the map, program or link with this id. */
export function openId<T>(noun: string, id: number, open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw byIdFailure(`open ${noun} ${id}`, error);
  }
}

/** The public error of a query by id that failed. Queries by id need CAP_SYS_ADMIN. */
export function byIdFailure(what: string, error: unknown): EbpfError {
  const { words, options } = describeFailure(error, what);
  if (options.code === 'EPERM') return permissionError(`${what}: ${words}`, options, ['CAP_SYS_ADMIN']);
  const gone = options.code === 'ENOENT';
  return new EbpfError(`${what}: ${gone ? 'there is no such id' : words}`, options);
}
