// npm run lint keeps lib/ and native/ to their floors: a tree with one import or include that runs the wrong way, or a file in no
// room, is refused.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FLOORS, roomless, wrongIncludes } from '../../scripts/floors.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
let tree: string;

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'floors-'));
});
afterEach(() => rmSync(tree, { recursive: true }));

function plant(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(tree, dirname(path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  }
}

/** Every room has a file that imports nothing, so that each import below leads somewhere. */
function lint(path: string, ...imports: string[]): string {
  plant(Object.fromEntries(FLOORS.lib.flat().map((room) => [`lib/${room}/a.ts`, 'export const a = 1;\n'])));
  plant({ 'lib/index.ts': 'export const a = 1;\n', 'lib/cli/top/a.ts': 'export const a = 1;\n' });
  plant({ 'lib/serve/update.ts': 'export const a = 1;\n', 'lib/cli/terminal/a.ts': 'export const a = 1;\n' });
  plant({ [path]: imports.map((from, i) => `export { a as a${i} } from '${from}';\n`).join('') });
  for (const config of ['biome.json', 'biome.floors.json'])
    copyFileSync(join(ROOT, config), join(tree, config));
  const biome = join(ROOT, 'node_modules/.bin/biome');
  const { stdout, stderr } = spawnSync(
    biome,
    ['lint', '--vcs-enabled=false', '--max-diagnostics=50', 'lib'],
    {
      cwd: tree,
      encoding: 'utf8',
    },
  );
  expect(stderr + stdout).toMatch(/Checked \d+ files/);
  return [...(stderr + stdout).matchAll(/ lint\/(\S+).*\n\n\s+× (.*)/g)]
    .map(([, rule, text]) => `${rule}: ${text}`)
    .join('\n');
}

describe('imports of lib/', () => {
  it.each([
    ['lib/attach/b.ts', ['../map/a.ts', '../core/a.ts', '../attach/a.ts']],
    ['lib/cli/flows/b.ts', ['../terminal/a.ts', '../../serve/a.ts', '../../format/a.ts']],
    ['lib/page/b.ts', ['../format/a.ts', '../serve/update.ts', './a.ts']],
    ['lib/control/b.ts', ['../loader/a.ts', '../programs/a.ts']],
  ])('%s may import %j', (path, imports) => {
    expect(lint(path, ...imports)).toBe('');
  });

  it.each([
    [
      'lib/core/b.ts',
      '../map/a.ts',
      /lib\/core\/ is on floor 1 and imports lower floors only.* 6 map; 7 attach/,
    ],
    ['lib/attach/b.ts', '../loader/a.ts', /lib\/attach\/ is on floor 7/],
    ['lib/loader/b.ts', '../programs/a.ts', /lib\/loader\/ is on floor 10/],
    [
      'lib/serve/b.ts',
      '../addon/a.ts',
      /lib\/serve\/ does not call the addon: the rooms that do are kernel, btf/,
    ],
    ['lib/metrics/b.ts', '../index.ts', /lib\/metrics\/ is on floor 11/],
    ['lib/cli/flows/b.ts', '../top/a.ts', /lib\/cli\/flows\/ imports no other command's room/],
    ['lib/cli/flows/b.ts', '../../page/a.ts', /lib\/cli\/ is on floor 13/],
    ['lib/page/b.ts', '../serve/a.ts', /lib\/page\/ runs in a browser/],
  ])('%s may not import %s', (path, from, words) => {
    const said = lint(path, from);
    expect(said).toMatch(/^style\/noRestrictedImports: /);
    expect(said).toMatch(words);
  });

  it('finds a circle, of types alone too', () => {
    plant({ 'lib/map/b.ts': "import type { C } from './c.ts';\nexport type B = C | 1;\n" });
    expect(lint('lib/map/c.ts', './a.ts')).toBe('');
    plant({ 'lib/map/d.ts': "import type { E } from './e.ts';\nexport type D = E | 1;\n" });
    plant({ 'lib/map/e.ts': "import type { D } from './d.ts';\nexport type E = D[] | 1;\n" });
    expect(lint('lib/map/c.ts', './a.ts')).toMatch(/^suspicious\/noImportCycles: /);
  });
});

describe('includes of native/', () => {
  const HEADERS = {
    'native/base/errors.h': '',
    'native/handles/map.h': '#include "base/errors.h"\n',
    'native/map/reader.h': '',
  };

  it('may go to a lower floor, and from module.cc anywhere', () => {
    plant({ ...HEADERS, 'native/attach/tc.cc': '#include "handles/map.h"\n#include <bpf/bpf.h>\n' });
    plant({ 'native/module.cc': '#include "map/reader.h"\n#include "handles/map.h"\n' });
    expect(wrongIncludes(tree)).toEqual([]);
  });

  it.each([
    [
      'native/base/errors.cc',
      'handles/map.h',
      /native\/base\/ \(floor 1\) stands below native\/handles\/ \(floor 3\)/,
    ],
    [
      'native/attach/tc.cc',
      'map/reader.h',
      /native\/attach\/ \(floor 4\) stands beside native\/map\/ \(floor 4\)/,
    ],
    ['native/handles/map.cc', 'map.h', /write it from native\/, with its room/],
  ])('%s may not include %s', (path, name, words) => {
    plant({ ...HEADERS, [path]: `#include "${name}"\n` });
    expect(wrongIncludes(tree)).toEqual([expect.stringMatching(words)]);
  });

  it('finds a circle', () => {
    plant({ 'native/map/a.h': '#include "map/b.h"\n', 'native/map/b.h': '#include "map/a.h"\n' });
    expect(wrongIncludes(tree)).toEqual(['a circle of #includes: map/a.h → map/b.h → map/a.h']);
  });
});

it.each(['lib', 'native'] as const)('a file of %s/ that is in no room is refused', (side) => {
  plant({ [`${side}/new.ts`]: '', [`${side}/stuff/new.ts`]: '', [`${side}/map/new.ts`]: '' });
  expect(roomless(tree, side)).toEqual([
    expect.stringMatching(`^${side}/new.ts is in no room`),
    expect.stringMatching(`^${side}/stuff/new.ts is in no room`),
  ]);
});

it('this tree keeps to its floors', () => {
  const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'scripts/floors.js')], {
    encoding: 'utf8',
  });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});
