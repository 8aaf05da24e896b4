import { EbpfError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { BpfMap } from '../../map/map.ts';

/** The help text of the commands' first argument. */
export const MAP_ARGUMENT = 'its ID, its name, or the path of its pin (with a slash)';

/**
 * Opens a map by its ID, by the path of a pin, which contains a slash, or by its name.
 *
 * @throws EbpfError `ERR_EBPF_NO_MAP` with similar names; `ERR_EBPF_AMBIGUOUS` with the IDs of all such maps
 */
export async function openMap(text: string): Promise<BpfMap> {
  const { BpfMap } = await import('../../map/map.ts');
  if (text.includes('/')) return BpfMap.fromPin(text);
  if (/^\d+$/.test(text) && Number(text) < 2 ** 32) return BpfMap.fromId(Number(text));
  return BpfMap.fromId(idOf(text, BpfMap.list()));
}

/** @internal */
export function idOf(text: string, maps: readonly { id: number; name?: string }[]): number {
  const name = text.slice(0, 15); // the kernel keeps 15 characters
  const named = maps.filter((map) => map.name === name);
  const [first, ...others] = named;
  if (first === undefined) {
    const near = nearest(name, [...new Set(maps.map((map) => map.name ?? '').filter(Boolean))]);
    throw new EbpfError(`the kernel has no map "${text}"`, {
      code: 'ERR_EBPF_NO_MAP',
      hint: near.length > 0 ? `it has ${near.join(', ')}` : 'node-ebpf maps lists the maps',
    });
  }
  if (others.length === 0) return first.id;
  throw new EbpfError(`the kernel has ${named.length} maps "${text}"`, {
    code: 'ERR_EBPF_AMBIGUOUS',
    hint: `name one by its ID: ${named.map(({ id }) => id).join(', ')}`,
  });
}
