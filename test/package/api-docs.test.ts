// The API reference: every public symbol has a docstring, and says nothing of what is not public.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TYPEDOC = `${ROOT}node_modules/typedoc/bin/typedoc`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-docs-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function typedoc(...args: string[]): { status: number | null; output: string } {
  const out = ['--out', join(folder, 'api')];
  const { status, stdout, stderr } = spawnSync(process.execPath, [TYPEDOC, ...out, ...args], {
    ...{ cwd: ROOT, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  });
  return { status, output: stdout + stderr };
}

it('TypeDoc has nothing to say against the docstrings, and describes what the package exports', () => {
  const json = join(folder, 'api.json');
  const { status, output } = typedoc('--json', json);
  expect(output).not.toMatch(/\[(?:warning|error)\]/);
  expect(status, output).toBe(0);

  const entries = (JSON.parse(readFileSync(`${ROOT}typedoc.json`, 'utf8')) as { entryPoints: string[] })
    .entryPoints;
  const { exports } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
    exports: Record<string, string | { types: string }>;
  };
  const types = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [] : entry.types));
  expect(entries.map((path) => path.replace(/^lib\/(.*)\.ts$/, './dist/$1.d.ts'))).toEqual(types);
});

it('an export, a member or a type without a docstring fails', () => {
  const file = join(folder, 'undocumented.ts');
  writeFileSync(
    file,
    `interface Hidden {\n  /** Told. */\n  told: string;\n}
/** Told. */
export interface Told {\n  untold: string;\n  /** Told. */\n  hidden: Hidden;\n}
export function untold(): void {}\n`,
  );
  const tsconfig = join(folder, 'tsconfig.json');
  const options = { target: 'es2023', module: 'nodenext', types: [] };
  writeFileSync(tsconfig, JSON.stringify({ compilerOptions: options, files: [file] }));
  const { status, output } = typedoc('--tsconfig', tsconfig, '--entryPoints', file);
  expect(status, output).not.toBe(0);
  expect(output).toMatch(/\[warning\] untold \(CallSignature\).* does not have any documentation/);
  expect(output).toMatch(/\[warning\] Told\.untold \(Property\).* does not have any documentation/);
  expect(output).toMatch(/\[warning\] Hidden, .* is referenced by Told\.hidden but not included/);
  expect(existsSync(join(folder, 'api'))).toBe(false);
});
