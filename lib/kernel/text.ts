import { readFileSync } from 'node:fs';

/** The text of a small file, or the code of the error that reading it gave. */
export interface Text {
  text?: string;
  code?: string;
}

/** Reads a small file, such as one of /proc or /sys, without the white space at its ends. */
export function readText(path: string): Text {
  try {
    return { text: readFileSync(path, 'utf8').trim() };
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code ?? 'EIO' };
  }
}

/** The text of a small file without the white space at its ends; undefined if it cannot be read. */
export function textOf(path: string): string | undefined {
  return readText(path).text;
}
