import { native } from '../addon/native.ts';
import { type Holder, isNativeFailure } from '../core/errors.ts';

/** A program that is on a hook, with its name where the kernel tells. @internal */
export function holderOf(programId: number, linkId?: number): Holder {
  const holder: Holder = { programId };
  if (linkId !== undefined && linkId !== 0) holder.linkId = linkId;
  const name = askedOf(() => native().programInfo(programId))?.name;
  if (name !== undefined) holder.name = name;
  return holder;
}

/**
 * By-id queries need CAP_SYS_ADMIN, and what they ask about may be gone: then there is no answer, and no error.
 *
 * @internal
 */
export function askedOf<T>(query: () => T): T | undefined {
  try {
    return query();
  } catch (error) {
    if (isNativeFailure(error)) return undefined;
    throw error;
  }
}
