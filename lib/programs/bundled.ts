import type { BpfLink } from '../link/link.ts';
import type { BpfObject } from '../object/object.ts';

/** What a bundled program is made of: for its metrics and its health. @internal */
export interface Bundled {
  /** As its file in bpf/. */
  readonly name: string;
  readonly object: BpfObject;
  /** With the kernel's word for the program's type. */
  readonly attachments: readonly { readonly type: string; readonly link: BpfLink }[];
  /** The interface that it is on, by its name when it was attached. */
  readonly iface?: string;
}

const known = new WeakMap<object, Bundled>();

/** @internal */
export function keepBundled(instance: object, bundled: Bundled): void {
  known.set(instance, bundled);
}

/** Undefined for what is no bundled program. @internal */
export function bundledOf(instance: object): Bundled | undefined {
  return known.get(instance);
}
