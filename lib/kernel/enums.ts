import { native } from '../addon/native.ts';
import { isNativeFailure } from '../core/errors.ts';

/**
 * Returns the names of an enum's values by number, from the running kernel's BTF. Empty if it has no BTF or
 * no such enum.
 *
 * @internal
 */
export async function kernelEnum(name: string): Promise<ReadonlyMap<number, string>> {
  try {
    const { names, values } = await native().kernelEnum(name);
    return new Map(names.map((word, index) => [values[index] ?? 0, word]));
  } catch (error) {
    if (isNativeFailure(error)) return new Map();
    throw error;
  }
}
