import type { NativeMember } from '../addon/binding.ts';
import { EbpfMapError, isNativeFailure } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { byIdFailure } from '../handle/by-id.ts';
import type { MapRef } from './map-ref.ts';

/** An integer in a map's value. */
export interface CounterField {
  offset: number;
  size: number;
  signed: boolean;
}

/**
 * The fields that a reader is asked for: a number is the offset of a 64-bit unsigned integer, or of a narrower one where
 * values are 1, 2 or 4 bytes; a name is BTF's. Without any, the whole value: its 64-bit words, or the one integer that it is.
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
    throw new EbpfMapError(`read map ${map.name}: its values have ${valueSize} bytes: name the fields`, {
      code: 'ERR_EBPF_NO_FIELD',
      map: map.name,
      hint: 'fields: by offset, or by their names in BTF',
    });
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

/** The integers that BTF names in a value; none where the kernel has no BTF for it. */
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
        : 'the map has no BTF for its values: name fields by offset',
  });
}
