import { EbpfError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { BpfMap } from '../../map/map.ts';

/** What the commands say of their first argument. */
export const MAP_ARGUMENT = 'its id, its name, or the path of its pin (with a slash)';

/**
 * A map by the kernel's number, by the path of a pin, which has a slash in it, or by its name.
 *
 * @throws EbpfError `ERR_EBPF_NO_MAP` with the nearest names; `ERR_EBPF_AMBIGUOUS` with the ids of those of one name
 */
export async function openMap(text: string): Promise<BpfMap> {
  const { BpfMap } = await import('../../map/map.ts');
  if (text.includes('/')) return BpfMap.fromPin(text);
  if (/^\d+$/.test(text) && Number(text) < 2 ** 32) return BpfMap.fromId(Number(text));
  return BpfMap.fromId(idOf(text, BpfMap.list()));
}

/** @internal */
export function idOf(text: string, maps: readonly { id: number; name?: string }[]): number {
  const name = text.slice(0, 15); // all that the kernel keeps
  const named = maps.filter((map) => map.name === name);
  const [first, ...others] = named;
  if (first === undefined) {
    const near = nearest(name, [...new Set(maps.map((map) => map.name ?? '').filter(Boolean))]);
    throw new EbpfError(`the kernel has no map "${text}"`, {
      code: 'ERR_EBPF_NO_MAP',
      hint: near.length > 0 ? `it has ${near.join(', ')}` : 'node-ebpf maps shows those that there are',
    });
  }
  if (others.length === 0) return first.id;
  throw new EbpfError(`the kernel has ${named.length} maps "${text}"`, {
    code: 'ERR_EBPF_AMBIGUOUS',
    hint: `name one by its id: ${named.map(({ id }) => id).join(', ')}`,
  });
}
