import { EbpfMapError } from '../core/errors.ts';
import type { MapSpec } from '../core/map-spec.ts';
import type { MapRef } from './map-ref.ts';

const SHAPE = ['name', 'type', 'keySize', 'valueSize', 'maxEntries', 'flags'] as const;

/**
 * Throws unless `map` has each member of `expect`. Names are compared by their first 15 characters, which are
 * those that the kernel keeps.
 *
 * @internal
 */
export function checkShape(what: string, map: MapRef, expect: Partial<MapSpec>): void {
  const unknown = Object.keys(expect).find((member) => !(SHAPE as readonly string[]).includes(member));
  if (unknown !== undefined) {
    throw new TypeError(`Expected ${SHAPE.join(', ')} in a map's shape but received ${unknown}`);
  }
  const differing = SHAPE.filter((member) => {
    const wanted = member === 'name' ? expect.name?.slice(0, 15) : expect[member];
    return wanted !== undefined && wanted !== (member === 'name' ? map.name.slice(0, 15) : map[member]);
  });
  if (differing.length === 0) return;
  const list = differing.map((member) => `${member} is ${map[member]}, expected ${expect[member]}`);
  throw new EbpfMapError(`${what}: ${list.join('; ')}`, { code: 'ERR_EBPF_MAP_SPEC', map: map.name });
}
