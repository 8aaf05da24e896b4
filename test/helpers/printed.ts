import { vi } from 'vitest';

/** The lines that `work` prints. */
export function printed(work: () => void): string[] {
  let text = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((piece) => {
    text += piece;
    return true;
  });
  try {
    work();
    return text.trimEnd().split('\n');
  } finally {
    write.mockRestore();
  }
}
