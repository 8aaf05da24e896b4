import type { NativeProgram } from '../addon/binding.ts';

/**
 * A loaded program, as links, maps and attachments take it. A BpfProgram is one; a ProgramListing is not, as
 * it has no descriptor.
 *
 * @example
 * const swap = (link: BpfLink, program: ProgramRef) => link.update(program);
 */
export interface ProgramRef {
  /** The id that the kernel gave the program. */
  readonly id: number;
  /** Its name in the object file, or the kernel's copy of it, cut at 15 characters. */
  readonly name: string;
  /** Its SEC(), empty if the program was opened by pin or id. */
  readonly section: string;
  /** The kernel's name for its type: `xdp`, `sched_cls`, … */
  readonly type: string;
  /** The kernel's hash of its instructions, 16 hexadecimal digits. */
  readonly tag: string;
  /** The file descriptor of its handle. */
  readonly fd: number;
  /** @internal */
  readonly native: NativeProgram;
}
