import type { NativeProgram } from '../addon/binding.ts';

/** A program as links, maps and attach calls take it: a BpfProgram is one. */
export interface ProgramRef {
  readonly id: number;
  readonly name: string;
  readonly section: string;
  readonly type: string;
  readonly tag: string;
  readonly fd: number;
  /** @internal */
  readonly native: NativeProgram;
}
