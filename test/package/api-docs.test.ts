// The API reference: every public symbol has a docstring.
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
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  return { status, output: stdout + stderr };
}

it('TypeDoc has nothing to say against the docstrings, and describes what the package exports', () => {
  const { status, output } = typedoc();
  expect(output).not.toMatch(/\[(?:warning|error)\]/);
  expect(status, output).toBe(0);
  expect(existsSync(join(folder, 'api', 'index.html'))).toBe(true);

  const entries = (JSON.parse(readFileSync(`${ROOT}typedoc.json`, 'utf8')) as { entryPoints: string[] })
    .entryPoints;
  const { exports } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
    exports: Record<string, string | { types: string }>;
  };
  const types = Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [] : entry.types));
  expect(entries.map((path) => path.replace(/^lib\/(.*)\.ts$/, './dist/$1.d.ts'))).toEqual(types);
});

it('an export or a member without a docstring fails', () => {
  const file = join(folder, 'undocumented.ts');
  writeFileSync(
    file,
    '/** Told. */\nexport interface Told {\n  untold: string;\n}\nexport function untold(): void {}\n',
  );
  const compilerOptions = { target: 'es2023', module: 'nodenext', types: [] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [file] }));
  const options = { extends: [`${ROOT}typedoc.json`], tsconfig: 'tsconfig.json', entryPoints: [file] };
  writeFileSync(join(folder, 'typedoc.json'), JSON.stringify(options));
  const { status, output } = typedoc('--options', folder);
  expect(status, output).not.toBe(0);
  expect(output).toMatch(/\[warning\] untold \(CallSignature\).* does not have any documentation/);
  expect(output).toMatch(/\[warning\] Told\.untold \(Property\).* does not have any documentation/);
});
