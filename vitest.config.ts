import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { SLOWNESS } from './test/helpers/slowness.ts';

// scripts/test-asan: every Node process of the tests is this wrapper, which preloads the sanitizer.
const node = process.env.NODE_EBPF_TEST_NODE;
if (node) process.execPath = node;
/** scripts/test-workers: every test file in a worker thread, where Node's V8 flags are the process's own. */
const threads = process.env.NODE_EBPF_TEST_THREADS === '1';
/**
 * Without the tests that run nothing of the library but processes of its own: those are the same whichever thread looks on, and call
 * into the addon as other tests do in theirs.
 */
const inProcess = process.env.NODE_EBPF_TEST_IN_PROCESS === '1';
const outside = [
  'test/kernel/cli/{cli,doctor,flows,latency,net}.test.ts',
  'test/kernel/docs/{commands,examples}.test.ts',
  'test/kernel/kernel/drop-privileges.test.ts',
];

/** Tests in test/kernel/ of what is built upon the library: commands, documents, metrics, the programs that ship. */
const built = 'test/kernel/{cli,docs,metrics,programs,serve}/**/*.test.ts';

interface Suite {
  name: string;
  /** test/NAME/ unless given. */
  include?: string;
  exclude?: string;
  /** Projects of one number run together, and before those of a higher one. */
  order: number;
  seconds: number;
  /** Two files at once would see each other's programs, namespaces and counters in the kernel. */
  serial: boolean;
}

const suites: Suite[] = [
  { name: 'unit', order: 0, seconds: 60, serial: false },
  { name: 'native', order: 1, seconds: 300, serial: false },
  // test/kernel/ is two projects of about the same length: the scripts run them side by side.
  { name: 'kernel', order: 2, seconds: 120, serial: true, exclude: built },
  { name: 'commands', order: 3, seconds: 120, serial: true, include: built },
  { name: 'browser', order: 4, seconds: 120, serial: true },
  { name: 'stress', order: 5, seconds: 300, serial: true },
  { name: 'package', order: 6, seconds: 600, serial: true },
  { name: 'vm', order: 7, seconds: 300, serial: true },
  // scripts/test-release alone: it takes what only a release is made of.
  ...(process.env.NODE_EBPF_TEST_RELEASE === '1'
    ? [{ name: 'release', order: 8, seconds: 1200, serial: true }]
    : []),
];

// Tests import lib/*.ts for its types, and run what ships: the JavaScript of dist/, outside of vite's transforms. A module that is no
// entry point is in a chunk there, and build/internals/ exports it (scripts/bundle.js). So a test, its worker threads and its child
// processes all run the same files, and coverage is of those.
const root = fileURLToPath(new URL('.', import.meta.url));
const shipped = {
  name: 'shipped',
  enforce: 'pre' as const,
  resolveId(id: string) {
    const name = /^(?:\.\.\/)+lib\/(.+)\.ts$/.exec(id)?.[1];
    if (name === undefined) return;
    return [`${root}build/internals/${name}.js`, `${root}dist/${name}.js`].find((file) => existsSync(file));
  },
};

export default defineConfig({
  test: {
    reporters: ['default', './test/summary-reporter.ts'],
    projects: suites.map(({ name, include, exclude, order, seconds, serial }) => ({
      plugins: [shipped],
      test: {
        name,
        include: [include ?? `test/${name}/**/*.test.ts`],
        exclude: [...(exclude === undefined ? [] : [exclude]), ...(inProcess ? outside : [])],
        setupFiles: ['./test/coverage-setup.ts'],
        server: { deps: { external: [/\/dist\//, /\/build\/internals\//] } },
        // A native crash takes down a process and shows; worker threads would take vitest with them.
        pool: threads ? ('threads' as const) : ('forks' as const),
        // For the tests of what the collector may and may not take.
        execArgv: threads ? [] : ['--expose-gc'],
        fileParallelism: !serial,
        ...(serial ? { maxWorkers: 1 } : {}),
        testTimeout: seconds * 1000 * SLOWNESS,
        hookTimeout: seconds * 1000 * SLOWNESS,
        sequence: { groupOrder: order },
      },
    })),
  },
});
