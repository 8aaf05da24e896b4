/** A rule that an object file breaks. */
export interface Finding {
  /** The rule's stable id in kebab case, such as `elf-machine`. docs/validation.md lists all. */
  rule: string;
  /** An error prevents the object from being loaded or used; a warning does not. */
  level: 'error' | 'warning';
  /** The file and the position in it: section, program or map, instruction, source line. */
  place: string;
  /** What is wrong, in a sentence for people. */
  message: string;
  /** How to fix it, in a few words. */
  remedy?: string;
}
