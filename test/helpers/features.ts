// Tests of what not every kernel has. A test is skipped where the kernel is too old for it, and named so; where the kernel is new
// enough it runs, and fails if the feature is missing. What a kernel of our own machines lacks in spite of its version is in
// EXCEPTIONS, each with the errno that proves it: test/kernel/kernel/features.test.ts asks for that errno.
import { execFileSync } from 'node:child_process';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { test } from 'vitest';
import { PYTHON } from './send.ts';

const ASK = fileURLToPath(new URL('./ask_kernel.py', import.meta.url));

/** What a test may ask for, and the first kernel that has it. */
export const FEATURES = {
  kprobes: '4.1',
  'kprobe.multi': '5.18',
  fentry: '5.5',
  lsm: '5.7',
  iter: '5.8',
  'iter of map elements': '5.9',
  sk_lookup: '5.9',
  struct_ops: '5.6',
  'struct_ops.link': '6.4',
  netfilter: '6.4',
  tcx: '6.6',
  'uprobe.multi': '6.6',
  'USDT without pid': '5.15',
  'attach cookie': '5.15',
  'links of events': '5.15',
  'sk_skb parsers that do not hang it': '5.11', // 5.10 takes a lock twice, where a parsed message passes
  'test runs that refuse short frames': '5.18',
  'samples of later threads': '5.13',
  'hardware counters': '4.9',
  snapshot: '5.19',
  'verified instructions': '5.16',
  'drop reasons': '5.18', // the first few came with 5.17
} as const satisfies Record<string, string>;
export type Feature = keyof typeof FEATURES;

declare module 'vitest' {
  interface TaskMeta {
    /** For docs/kernel-support.md. */
    feature?: Feature;
  }
}

interface Exception {
  /** Of uname -r. */
  release: RegExp;
  feature: Feature;
  /** What the kernel says to who asks for it. */
  errno: string;
  /** Kernels of this name have it, and others of the same name have not: only the kernel can tell. */
  asked?: true;
}

export const EXCEPTIONS: readonly Exception[] = [
  // Without CONFIG_KPROBES, and tracing programs refused before the verifier sees them.
  { release: /^6\.18\./, feature: 'kprobes', errno: 'ENOENT' },
  { release: /^6\.18\./, feature: 'kprobe.multi', errno: 'EOPNOTSUPP' },
  { release: /^6\.18\./, feature: 'fentry', errno: 'EPERM' },
  { release: /^6\.18\./, feature: 'lsm', errno: 'EPERM' },
  { release: /^6\.18\./, feature: 'hardware counters', errno: 'ENOENT' },
  { release: /^6\.18\./, feature: 'iter of map elements', errno: 'EPERM', asked: true },
  // The guests of scripts/test-vm: an emulated processor counts nothing, and Debian's 6.1 is without CONFIG_FPROBE.
  { release: /-cloud-amd64$/, feature: 'hardware counters', errno: 'ENOENT' },
  { release: /^6\.1\.\d.*-cloud-amd64$/, feature: 'kprobe.multi', errno: 'EOPNOTSUPP' },
];

/** `6.1.158-cloud` is at least `6.1`, and less than `6.6`. */
export function kernelIsAtLeast(version: string, kernel: string = release()): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [ownMajor = 0, ownMinor = 0] = kernel.split(/[.-]/).map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

/** What the kernel says of a feature, asked by a program of its own: `ok`, or an errno. */
export function askKernel(feature: Feature): string {
  return execFileSync(PYTHON, ['-S', '-E', ASK, feature], { encoding: 'utf8' }).trim();
}

/** The exception that this kernel is, if it is one. */
export function exceptionFor(feature: Feature): Exception | undefined {
  return EXCEPTIONS.find(
    (entry) =>
      entry.feature === feature &&
      entry.release.test(release()) &&
      (!entry.asked || askKernel(feature) === entry.errno),
  );
}

/** Why a test of `feature` cannot run here; undefined where it has to. */
export function whyNot(feature: Feature): string | undefined {
  const since = FEATURES[feature];
  if (!kernelIsAtLeast(since)) return `${feature} takes kernel ${since}`;
  const exception = exceptionFor(feature);
  return exception && `${feature} takes kernel ${since}; this one says ${exception.errno}`;
}

/**
 * vitest's test(), for what takes a feature of the kernel, or several.
 *
 * @example
 * testWith('kprobes')('counts', () => { … });
 */
export function testWith(
  feature: Feature,
  ...more: Feature[]
): (name: string, work: () => void | Promise<void>) => void {
  const why = [feature, ...more].map(whyNot).find((words) => words !== undefined);
  return (name, work) => {
    const meta = { meta: { feature } };
    if (why === undefined) test(name, meta, work);
    else test.skip(`${name} (${why})`, meta, work);
  };
}
