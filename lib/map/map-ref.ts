import type { NativeMap } from '../addon/binding.ts';
import type { MapType } from '../core/map-spec.ts';

/** A map as its readers, scans and snapshots see it: a BpfMap is one. @internal */
export interface MapRef {
  readonly id: number;
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly slotSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly native: NativeMap;
  /** What native code threw, as a public error. */
  failure(verb: string, error: unknown): unknown;
  /** The reader is closed. */
  forget(reader: object): void;
}
