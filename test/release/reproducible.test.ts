// A clone of this tree elsewhere, built from nothing but what was downloaded, gives the same bytes.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Held against a checksum when they came. */
const DOWNLOADS = /^(sysroot-|zig-\d)/;

let folder: string;
let clone: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-clone-'));
  clone = join(folder, 'elsewhere');
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const file of files.split('\0').filter((name) => name && existsSync(join(ROOT, name)))) {
    mkdirSync(dirname(join(clone, file)), { recursive: true });
    cpSync(join(ROOT, file), join(clone, file));
  }
  mkdirSync(join(clone, '.cache'));
  for (const name of readdirSync(join(ROOT, '.cache')).filter((entry) => DOWNLOADS.test(entry))) {
    symlinkSync(join(ROOT, '.cache', name), join(clone, '.cache', name));
  }
  const environment = { ...process.env, NODE_EBPF_TREE_LOCKED: '' };
  execFileSync('bash', ['scripts/setup', 'npm', 'bpf', 'ts'], {
    cwd: clone,
    env: environment,
    stdio: 'pipe',
  });
  execFileSync('bash', ['scripts/prebuild', 'all'], {
    cwd: clone,
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Of each file below it, a checksum. */
function sums(tree: string, path: string): Record<string, string> {
  const below = readdirSync(join(tree, path), { recursive: true, withFileTypes: true });
  const files = below.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    files
      .sort()
      .map((file) => [
        file.slice(tree.length),
        createHash('sha256').update(readFileSync(file)).digest('hex'),
      ]),
  );
}

it.each(['prebuilds', 'dist'])('%s/ is the same, byte for byte', (path) => {
  const ours = sums(ROOT.replace(/\/$/, ''), path);
  expect(Object.keys(ours).length).toBeGreaterThan(4);
  expect(sums(clone, path)).toEqual(ours);
});
