// Selects the files of test/kernel/ that run in a guest. An emulated processor is ten to twenty times slower
// than the real one, so tests of JavaScript only, or of time and memory, run only in npm test.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 'test/kernel';

/** All other files run, including new ones; --all runs these too. */
const LEFT_OUT = [
  // Validation, messages, metrics, pages and the command line: JavaScript that is the same on every kernel.
  /^((cli|docs|metrics|object-file|serve)\/|loader\/(faults|limits)$)/,
  // Thousands of operations against a model: minutes each on an emulated processor.
  /^map\/(?!struct-ops$)/,
  // Some two hundred tests, each with its own namespace and processes: twenty minutes. tc tests what differs
  // between kernels.
  /^semantics\/(?!tc$)/,
  /^kernel\/privileges$/,
];

/**
 * The selection of npm test: the main paths, and features that this machine's kernel may lack. Files that do
 * not exist yet are added when they do.
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
