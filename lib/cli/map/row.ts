import { InvalidArgumentError } from 'commander';
import { LITTLE_ENDIAN } from '../../core/endian.ts';
import { EbpfPermissionError } from '../../core/errors.ts';
import type { CounterField } from '../../map/fields.ts';
import type { BpfMap } from '../../map/map.ts';
import { printable } from '../terminal/output.ts';
import { hex } from './key.ts';

interface NamedField extends CounterField {
  /** Empty if the value is one integer, for which BTF has no name. */
  name: string;
}

/** A row in the form that `map dump --json` and `map get --json` print. */
export interface RowLine {
  /** An array index, or the bytes of a key. */
  key: number | string;
  /** The number of the CPU, with --per-cpu. */
  cpu?: number;
  /** The integers by name. A number above 2^53 is a string, as JSON numbers are not exact there. */
  values?: Record<string, number | string>;
  /** The bytes of the value, if its fields are unknown. */
  value?: string;
}

/** Formats the rows of one map. */
export class RowFormat {
  readonly #map: BpfMap;
  readonly #fields: readonly NamedField[] | undefined;
  readonly #stride: number;
  readonly #cpus: number;
  readonly #summed: boolean;

  constructor(map: BpfMap, fields: readonly NamedField[] | undefined, perCpu: boolean) {
    const isPerCpu = perCpuMap(map);
    if (perCpu) requirePerCpu(map);
    this.#map = map;
    this.#fields = fields ?? (isPerCpu && !perCpu ? wholeWords(map) : undefined);
    this.#summed = isPerCpu && !perCpu && this.#fields !== undefined;
    this.#stride = isPerCpu ? Math.ceil(map.valueSize / 8) * 8 : map.valueSize;
    this.#cpus = isPerCpu ? map.slotSize / this.#stride : 1;
  }

  /** Formats a row as one line, or as one line per CPU. */
  lines(key: Uint8Array, slot: Uint8Array): RowLine[] {
    const name = keyWords(this.#map, key);
    const parts = Array.from({ length: this.#cpus }, (_, cpu) =>
      slot.subarray(cpu * this.#stride, cpu * this.#stride + this.#map.valueSize),
    );
    if (this.#summed) return [{ key: name, ...this.#values(parts) }];
    return parts.map((value, cpu) => ({
      key: name,
      ...(perCpuMap(this.#map) ? { cpu } : {}),
      ...(this.#fields ? this.#values([value]) : { value: hex(value) }),
    }));
  }

  #values(parts: readonly Uint8Array[]): Pick<RowLine, 'values'> {
    const values = (this.#fields ?? []).map((field) => {
      const sum = parts.reduce((total, value) => total + integer(value, field), 0n);
      return [field.name || 'value', Number.isSafeInteger(Number(sum)) ? Number(sum) : String(sum)] as const;
    });
    return { values: Object.fromEntries(values) };
  }
}

/** A row as text: `3: packets=12 bytes=720`, or `0a:00:00:01 cpu 0: 01:00:00:00`. */
export function rowWords({ key, cpu, values, value = '' }: RowLine): string {
  const what = values
    ? Object.entries(values)
        .map(([name, number]) => `${printable(name)}=${number}`)
        .join(' ')
    : value;
  return `${key}${cpu === undefined ? '' : ` cpu ${cpu}`}: ${what}`;
}

/** The integers of a value by BTF; undefined if BTF names none, or this process may not read it. */
export async function namedFields(map: BpfMap): Promise<NamedField[] | undefined> {
  const { membersOf } = await import('../../map/fields.ts');
  try {
    const members = membersOf(map);
    return members.length === 0 ? undefined : members;
  } catch (error) {
    if (error instanceof EbpfPermissionError) return undefined;
    throw error;
  }
}

/** A key as an array index, or else as bytes. */
export function keyWords(map: BpfMap, key: Uint8Array): number | string {
  if (!map.type.endsWith('array') || key.length !== 4) return hex(key);
  return new DataView(key.buffer, key.byteOffset).getUint32(0, LITTLE_ENDIAN);
}

export function perCpuMap({ type }: BpfMap): boolean {
  return type.includes('percpu');
}

export function requirePerCpu(map: BpfMap): void {
  if (perCpuMap(map)) return;
  throw new InvalidArgumentError(
    `Expected a per-CPU map for --per-cpu but ${map.name || map.id} is of type ${map.type}.`,
  );
}

// The integers to add up if the fields of a value are unknown: the same as MapReader's.
function wholeWords({ valueSize }: BpfMap): NamedField[] | undefined {
  if ([1, 2, 4].includes(valueSize)) return [{ name: 'value', offset: 0, size: valueSize, signed: false }];
  if (valueSize % 8 !== 0) return undefined;
  return Array.from({ length: valueSize / 8 }, (_, i) => ({
    name: String(8 * i),
    offset: 8 * i,
    size: 8,
    signed: false,
  }));
}

function integer(value: Uint8Array, { offset, size, signed }: CounterField): bigint {
  let bits = 0n;
  for (let i = 0; i < size; i++) {
    bits = (bits << 8n) | BigInt(value[offset + (LITTLE_ENDIAN ? size - 1 - i : i)] ?? 0);
  }
  return signed ? BigInt.asIntN(8 * size, bits) : bits;
}
