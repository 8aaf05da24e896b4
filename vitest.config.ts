import { defineConfig } from 'vitest/config';

// scripts/test-asan: every Node process of the tests is this wrapper, which preloads the sanitizer.
const node = process.env.NODE_EBPF_TEST_NODE;
if (node) process.execPath = node;

interface Suite {
  name: string;
  /** Projects of one number run together, and before those of a higher one. */
  order: number;
  seconds: number;
  /** Two files at once would see each other's programs, namespaces and counters in the kernel. */
  serial: boolean;
}

const suites: Suite[] = [
  { name: 'unit', order: 0, seconds: 20, serial: false },
  { name: 'native', order: 1, seconds: 300, serial: false },
  { name: 'kernel', order: 2, seconds: 60, serial: true },
  { name: 'stress', order: 3, seconds: 300, serial: true },
  { name: 'package', order: 4, seconds: 600, serial: true },
];

export default defineConfig({
  test: {
    reporters: ['default', './test/summary-reporter.ts'],
    projects: suites.map(({ name, order, seconds, serial }) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        // A native crash takes down a process and shows; worker threads would take vitest with them.
        pool: 'forks' as const,
        // For the tests of what the collector may and may not take.
        execArgv: ['--expose-gc'],
        fileParallelism: !serial,
        ...(serial ? { maxWorkers: 1 } : {}),
        // The sanitizer makes everything a few times slower.
        testTimeout: seconds * 1000 * (node ? 4 : 1),
        hookTimeout: seconds * 1000 * (node ? 4 : 1),
        sequence: { groupOrder: order },
      },
    })),
  },
});
