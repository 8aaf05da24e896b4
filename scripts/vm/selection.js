// Which of test/kernel/ run in a guest. An emulated processor is ten to twenty times slower than the machine's own: what a test
// asks of this library's JavaScript alone, or of time and memory, is left to npm test.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 'test/kernel';

/** Every other file runs, and each that is added; --all has these too. */
const LEFT_OUT = [
  // Validation, messages, metrics, pages and the command line: JavaScript, the same on every kernel.
  /^((cli|docs|metrics|object-file|serve)\/|loader\/(faults|limits)$)/,
  // Thousands of operations against a model; minutes each on an emulated processor.
  /^map\/(?!struct-ops$)/,
  // Some two hundred worlds, each with a namespace and its own processes: twenty minutes. tc asks what differs between kernels.
  /^semantics\/(?!tc$)/,
  /^kernel\/privileges$/,
];

/**
 * For npm test: the main paths, and what the machine's own kernel may lack. A file that is not there yet is taken up when it
 * is.
 */
const SHORT = ['kernel/features', 'attach/probes', 'link/link', 'object/object', 'attach/socket'];

const files = (root) =>
  readdirSync(join(root, FOLDER), { recursive: true })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join(FOLDER, path))
    .sort();

export function selection(root, which) {
  const bare = (path) => path.slice(FOLDER.length + 1, -'.test.ts'.length);
  if (which === 'short') return files(root).filter((path) => SHORT.includes(bare(path)));
  if (which === 'all') return files(root);
  return files(root).filter((path) => !LEFT_OUT.some((pattern) => pattern.test(bare(path))));
}
