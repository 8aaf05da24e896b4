import { LITTLE_ENDIAN } from '../core/endian.ts';
import { listInterfaces } from '../kernel/interfaces.ts';
import { addressWords } from '../programs/address.ts';
import { syscallWord } from '../programs/syscall-numbers.ts';

/** How bytes of a key are read as a label. `u16` to `u64` and `syscall` are in the machine's byte order, `be16` is a port. */
export type LabelKind =
  | 'u8'
  | 'u16'
  | 'u32'
  | 'u64'
  | 'be16'
  | 'ifindex'
  | 'ipv4'
  | 'ipv6'
  | 'comm'
  | 'syscall';

/**
 * Where a label's value is in a map's key, and how it is read: a kind; the names of an enum's numbers (32 bits); or a function
 * of the key's bytes, which are only valid during the call.
 *
 * @example
 * const labels = {
 *   interface: { at: 0, as: 'ifindex' },
 *   state: { at: 4, as: { 1: 'ESTABLISHED', 7: 'CLOSE' } },
 *   parity: (key: Uint8Array) => (key[8] % 2 ? 'odd' : 'even'),
 * };
 */
export type Label =
  | {
      /** Bytes from the key's start. */
      readonly at: number;
      /** A kind, or the names of an enum's numbers: one without a name is its number. */
      readonly as: LabelKind | Readonly<Record<number, string>>;
    }
  | ((key: Uint8Array) => string);

const TASK_COMM_LEN = 16;

/** The interfaces of a namespace, asked for once in a look. @internal */
export class InterfaceNames {
  readonly #netns: string | number | undefined;
  #names: ReadonlyMap<number, string> | undefined;

  constructor(netns: string | number | undefined) {
    this.#netns = netns;
  }

  forget(): void {
    this.#names = undefined;
  }

  of(ifindex: number): string {
    this.#names ??= new Map(listInterfaces(this.#netns).map(({ ifindex, name }) => [ifindex, name]));
    return this.#names.get(ifindex) ?? `ifindex ${ifindex}`;
  }
}

type Read = (view: DataView, at: number, interfaces: InterfaceNames) => string;

const KINDS: Readonly<Record<LabelKind, { bytes: number; read: Read }>> = {
  u8: { bytes: 1, read: (view, at) => `${view.getUint8(at)}` },
  u16: { bytes: 2, read: (view, at) => `${view.getUint16(at, LITTLE_ENDIAN)}` },
  u32: { bytes: 4, read: (view, at) => `${view.getUint32(at, LITTLE_ENDIAN)}` },
  u64: { bytes: 8, read: (view, at) => `${view.getBigUint64(at, LITTLE_ENDIAN)}` },
  be16: { bytes: 2, read: (view, at) => `${view.getUint16(at)}` },
  ifindex: {
    bytes: 4,
    read: (view, at, interfaces) => interfaces.of(view.getUint32(at, LITTLE_ENDIAN)),
  },
  ipv4: { bytes: 4, read: (view, at) => addressWords(view, at, 4) },
  ipv6: { bytes: 16, read: (view, at) => addressWords(view, at, 6) },
  comm: {
    bytes: TASK_COMM_LEN,
    read: (view, at) => {
      const text = Buffer.from(view.buffer, view.byteOffset + at, TASK_COMM_LEN).toString('utf8');
      return text.split('\0', 1)[0] ?? '';
    },
  },
  syscall: { bytes: 4, read: (view, at) => syscallWord(view.getUint32(at, LITTLE_ENDIAN)) },
};

const NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * The function that reads a label.
 *
 * @throws TypeError, RangeError for what cannot be a label of keys of `keySize` bytes
 * @internal
 */
export function labelReader(
  name: string,
  label: Label,
  keySize: number,
  interfaces: InterfaceNames,
): (key: Uint8Array) => string {
  if (!NAME.test(name) || name.startsWith('__') || name === 'le') {
    throw new TypeError(`Expected a name of a Prometheus label but received ${JSON.stringify(name)}`);
  }
  if (typeof label === 'function') return (key) => String(label(key));
  const { at, as } = label;
  const kind = typeof as === 'object' ? KINDS.u32 : Object.hasOwn(KINDS, as) ? KINDS[as] : undefined;
  if (!kind) {
    throw new TypeError(
      `Expected ${Object.keys(KINDS).join(', ')} or names by number for label ${name} but received ${String(as)}`,
    );
  }
  if (!Number.isInteger(at) || at < 0 || at + kind.bytes > keySize) {
    throw new RangeError(
      `Expected an offset from 0 to ${keySize - kind.bytes} for label ${name} but received ${String(at)}`,
    );
  }
  const read = (key: Uint8Array) =>
    kind.read(new DataView(key.buffer, key.byteOffset, key.byteLength), at, interfaces);
  if (typeof as !== 'object') return read;
  return (key) => {
    const number = read(key);
    return as[Number(number)] ?? number;
  };
}
