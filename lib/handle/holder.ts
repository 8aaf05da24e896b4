import { native } from '../addon/native.ts';
import { type Holder, isNativeFailure } from '../core/errors.ts';

/** The Holder of a hook, with the program's name if the kernel reports it. @internal */
export function holderOf(programId: number, linkId?: number): Holder {
  const holder: Holder = { programId };
  if (linkId !== undefined && linkId !== 0) holder.linkId = linkId;
  const name = tryQuery(() => native().programInfo(programId))?.name;
  if (name !== undefined) holder.name = name;
  return holder;
}

/**
 * Returns the result of a query, or undefined if the kernel refuses it: queries by id need CAP_SYS_ADMIN, and
 * the object may be gone.
 *
 * @internal
 */
export function tryQuery<T>(query: () => T): T | undefined {
  try {
    return query();
  } catch (error) {
    if (isNativeFailure(error)) return undefined;
    throw error;
  }
}
