// bundle.js FROM TO: bundles the modules in FROM, which tsc compiled from lib/, into the JavaScript that
// ships. TO/dist gets the entry points and the few chunks that they share, because a process that imports the
// package waits for every file that it reads. TO/build/internals gets, for each other module of lib/, a file
// that exports it from its chunk, so that tests use the same classes as the entry points. Paths in lib/
// relative to import.meta.url are relative to dist/, where the chunks are.
import { readdirSync, readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { rolldown } from 'rolldown';

const [from, to] = process.argv.slice(2).map((path) => resolve(path));
const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
const ENTRIES = ['index', 'programs/index', 'metrics/index', 'control/index', 'cli/main'];

const modules = readdirSync(from, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.js'))
  .map((name) => name.slice(0, -'.js'.length))
  .sort();

/** @param {string} id */
const nameOf = (id) => relative(from, id).slice(0, -'.js'.length);

/** Returns a module and its static imports, by the bundler's graph, which has no types. */
const reached = new Map();
function reach(module, context) {
  let found = reached.get(module);
  if (!found) {
    found = new Set([module]);
    const pending = [...found];
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      for (const id of context.getModuleInfo(`${from}/${name}.js`)?.importedIds ?? []) {
        if (!id.startsWith(from) || found.has(nameOf(id))) continue;
        found.add(nameOf(id));
        pending.push(nameOf(id));
      }
    }
    reached.set(module, found);
  }
  return found;
}

/**
 * The chunks, each without the modules of earlier ones. The command line starts without the library and loads
 * the rest when a command needs it.
 */
const CHUNKS = {
  'format/units': (_, name) => name === 'format/units', // browsers load it too
  base: (by) => by('index') && by('cli/main'),
  library: (by) => by('index'),
  programs: (by) => by('programs/index'),
  control: (by) => by('control/index'),
  metrics: (by) => by('metrics/index'),
  command: (by) => by('cli/main'),
  screens: (_, name) => name.startsWith('cli/'),
  serve: (_, name) => name.startsWith('serve/'),
};

/** Returns the chunk of a module; undefined for the command line's entry, and for a module of types. */
function chunkOf(id, context) {
  const name = nameOf(id);
  const { importers, dynamicImporters } = context.getModuleInfo(id);
  if (name === 'cli/main' || (!ENTRIES.includes(name) && importers.length + dynamicImporters.length === 0))
    return;
  const by = (entry) => reach(entry, context).has(name);
  const found = Object.entries(CHUNKS).find(([, holds]) => holds(by, name));
  if (!found) throw new Error(`lib/${name}.ts is in no chunk of scripts/bundle.js`);
  return found[0];
}

/** Modules that a command imports when it runs. */
const lazy = new Set();

const bundle = await rolldown({
  input: Object.fromEntries(modules.map((name) => [name, `${from}/${name}.js`])),
  platform: 'node',
  external: [/^node:/, /\.cjs$/, ...Object.keys(dependencies), ...Object.keys(peerDependencies)],
  preserveEntrySignatures: 'strict',
  tsconfig: false,
  experimental: { attachDebugInfo: 'none' },
  makeAbsoluteExternalsRelative: false,
  checks: { ineffectiveDynamicImport: false },
  plugins: [
    {
      name: 'compiled',
      load(id) {
        return { code: readFileSync(id, 'utf8'), map: JSON.parse(readFileSync(`${id}.map`, 'utf8')) };
      },
      buildEnd() {
        for (const name of modules)
          if (this.getModuleInfo(`${from}/${name}.js`)?.dynamicImporters.length) lazy.add(name);
      },
    },
  ],
});
await bundle.write({
  dir: to,
  format: 'esm',
  sourcemap: true,
  // TO is a folder of the tree, but dist/ will be beside lib/.
  sourcemapPathTransform: (source) => source.replace('../', ''),
  // Stack traces and the inspector show the names of lib/.
  minifyInternalExports: false,
  comments: false,
  entryFileNames: ({ name }) =>
    `${ENTRIES.includes(name) || lazy.has(name) ? 'dist' : 'build/internals'}/${name}.js`,
  chunkFileNames: 'dist/[name].js',
  codeSplitting: {
    groups: Object.keys(CHUNKS).map((chunk) => ({
      name: (id, context) => (chunkOf(id, context) === chunk ? chunk : null),
      debugName: chunk,
    })),
  },
});
await bundle.close();
