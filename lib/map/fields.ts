import type { NativeMember } from '../addon/binding.ts';
import { EbpfMapError, isNativeFailure } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { byIdFailure } from '../handle/by-id.ts';
import type { MapRef } from './map-ref.ts';

/** An integer in a map's value: its byte offset, its size in bytes and its sign. */
export interface CounterField {
  offset: number;
  size: number;
  signed: boolean;
}

/**
 * Resolves the fields of a reader. A number is the byte offset of an unsigned 64-bit integer, or of a
 * narrower one if values are 1, 2 or 4 bytes long; a name is looked up in BTF. Without fields, the whole
 * value is read, as 64-bit words or as the single integer that it is.
 *
 * @throws EbpfMapError `ERR_EBPF_NO_FIELD`, with the nearest names
 */
export function counterFields(map: MapRef, wanted: readonly (number | string)[] | undefined): CounterField[] {
  if (wanted === undefined) return wholeValue(map);
  if (wanted.length === 0) throw new RangeError('Expected at least one field');
  let members: readonly NativeMember[] | undefined;
  return wanted.map((field) => {
    if (typeof field === 'number') return atOffset(map, field);
    if (typeof field !== 'string') {
      throw new TypeError(`Expected an offset or a name for a field but received ${typeof field}`);
    }
    members ??= membersOf(map);
    const found = members.find(({ name }) => name === field);
    if (found) return found;
    throw noField(map, field, members);
  });
}

function wholeValue(map: MapRef): CounterField[] {
  const { valueSize } = map;
  if ([1, 2, 4].includes(valueSize)) return [{ offset: 0, size: valueSize, signed: false }];
  if (valueSize % 8 !== 0 || valueSize === 0) {
    throw new EbpfMapError(
      `read map ${map.name}: values of ${valueSize} bytes are not whole 64-bit words: name the fields`,
      {
        code: 'ERR_EBPF_NO_FIELD',
        map: map.name,
        hint: 'pass fields: byte offsets, or names in BTF',
      },
    );
  }
  return Array.from({ length: valueSize / 8 }, (_, i) => ({ offset: 8 * i, size: 8, signed: false }));
}

function atOffset(map: MapRef, offset: number): CounterField {
  const size = [1, 2, 4].includes(map.valueSize) ? map.valueSize : 8;
  if (Number.isInteger(offset) && offset >= 0 && offset + size <= map.valueSize) {
    return { offset, size, signed: false };
  }
  throw new RangeError(
    `Expected an offset from 0 to ${map.valueSize - size} for a field of map ${map.name} but received ${offset}`,
  );
}

/** Lists the integers that BTF names in a value. The list is empty if the kernel has no BTF for the map. */
export function membersOf(map: MapRef): NativeMember[] {
  try {
    return map.native.members();
  } catch (error) {
    if (!isNativeFailure(error) || error.code === 'ERR_EBPF_CLOSED') throw error;
    throw byIdFailure(`look up the fields of map ${map.name} in the kernel's BTF`, error);
  }
}

function noField(map: MapRef, field: string, members: readonly NativeMember[]): EbpfMapError {
  const names = nearest(
    field,
    members.map(({ name }) => name),
  );
  return new EbpfMapError(`read map ${map.name}: its values have no field "${field}"`, {
    code: 'ERR_EBPF_NO_FIELD',
    map: map.name,
    hint:
      names.length > 0
        ? `they have ${names.join(', ')}`
        : 'the map has no BTF for its values: give the fields by offset',
  });
}
