// Which of test/kernel/ run in a guest. An emulated processor is ten to twenty times slower than the machine's own: what a test
// asks of this library's JavaScript alone, or of time and memory, is left to npm test.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 'test/kernel';

/** Files that say nothing new on another kernel; every other one, and each that is added, runs. */
const LEFT_OUT = [];

/** For npm test: the main paths, and what the machine's own kernel may lack. A file that is not there yet is taken up when it is. */
const SHORT = ['features', 'probes', 'object', 'link'];

const files = (root) =>
  readdirSync(join(root, FOLDER), { recursive: true })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join(FOLDER, path))
    .sort();

export function selection(root, which) {
  const bare = (path) => path.slice(FOLDER.length + 1, -'.test.ts'.length);
  if (which === 'short') return files(root).filter((path) => SHORT.includes(bare(path)));
  if (which === 'all') return files(root);
  return files(root).filter((path) => !LEFT_OUT.includes(bare(path)));
}
