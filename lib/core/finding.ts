/** One rule that a file breaks. */
export interface Finding {
  /** A stable id in kebab case, such as `elf-machine`: docs/validation.md has them all. */
  rule: string;
  /** An error keeps the object from loading or from being used; a warning does not. */
  level: 'error' | 'warning';
  /** The file, and where in it: section, program or map, instruction, source line. */
  place: string;
  /** What is wrong, for people. */
  message: string;
  /** What to do about it, in a few words. */
  remedy?: string;
}
