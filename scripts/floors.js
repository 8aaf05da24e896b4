// The floors of lib/ and native/, and the rooms on each: docs/architecture.md draws them. `npm run lint` runs
// this file. It fails if a file is in no room, if an #include of native/ runs up or in a circle, or if
// biome.floors.json is out of date. That file has the import rules of lib/, which Biome checks;
// `npm run format` writes it.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * From the ground up. A room imports the rooms of lower floors and its own files: no other room of its floor,
 * and none above.
 */
export const FLOORS = {
  lib: [
    ['core', 'format'],
    ['addon'],
    ['kernel', 'btf'],
    ['handle', 'object-file'],
    ['link'],
    ['map'],
    ['attach'],
    ['program'],
    ['object'],
    ['loader', 'programs'],
    ['metrics', 'control', 'meters'],
    ['serve', 'exporter', 'codegen'],
    ['cli', 'page'],
  ],
  native: [['base', 'elf'], ['btf'], ['handles', 'kernel'], ['map', 'examine', 'attach']],
};

/** The rooms that call into the addon: lib/addon/ is the only way to it. */
const CALLS_THE_ADDON = 'kernel btf handle object-file link map attach program object loader'.split(' ');
/** The commands' rooms: each imports cli/terminal/ and its own files, and no other command's. */
const SHARED_BY_COMMANDS = 'terminal';
/**
 * Files that are in no room, and may import every room but the highest floor: what the package exports, and
 * what builds the addon.
 */
const AT_THE_TOP = { lib: ['index.ts'], native: ['module.cc', 'exports.map'] };

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PAGE = 'docs/architecture.md has the floors';

const floorOf = (side, room) => FLOORS[side].findIndex((rooms) => rooms.includes(room));
const rooms = (side) => FLOORS[side].flat();
const numbered = (side, room) => `${side}/${room}/ (floor ${floorOf(side, room) + 1})`;
const LIST = FLOORS.lib.map((names, floor) => `${floor + 1} ${names.join(', ')}`).join('; ');

/** A folder of lib/ as files of a room see it, from the room itself and from a folder in it. */
const seenFrom = (name) => [`../${name}/**`, `../../${name}/**`];
const rule = (includes, patterns) => ({
  includes,
  linter: { rules: { style: { noRestrictedImports: { level: 'error', options: { patterns } } } } },
});

/** What biome.json says of the imports of each room. `commands` are the rooms of lib/cli/. */
export function importRules(commands) {
  const patterns = Object.fromEntries(rooms('lib').map((room) => [room, forbidden(room)]));
  const others = (command) => commands.filter((one) => one !== command && one !== SHARED_BY_COMMANDS);
  return [
    ...rooms('lib').map((room) => rule([`lib/${room}/**`], patterns[room])),
    // For a file that several rules include, Biome applies the last one: it repeats what holds in all of
    // lib/cli/.
    ...commands.map((command) =>
      rule(
        [`lib/cli/${command}/**`],
        [
          ...patterns.cli,
          {
            group: others(command).map((other) => `../${other}/**`),
            message: `lib/cli/${command}/ imports no other command's room: what commands share is in lib/cli/terminal/`,
          },
        ],
      ),
    ),
  ];
}

function forbidden(room) {
  if (room === 'page') {
    const message = 'lib/page/ runs in a browser: it imports lib/format/, and types of lib/serve/update.ts';
    return [{ group: ['../**', '!../format/**', '!../serve/update.ts'], message }];
  }
  const floor = floorOf('lib', room);
  const same = FLOORS.lib
    .slice(floor)
    .flat()
    .filter((other) => other !== room);
  // lib/index.ts is for those outside: inside, a file is imported from where it is.
  const patterns = [
    {
      group: [...same.flatMap(seenFrom), '../index.ts', '../../index.ts'],
      message: `lib/${room}/ is on floor ${floor + 1} and imports lower floors only. The floors of lib/: ${LIST}`,
    },
  ];
  if (floor > floorOf('lib', 'addon') && !CALLS_THE_ADDON.includes(room)) {
    const message = `lib/${room}/ does not call the addon: the rooms that do are ${CALLS_THE_ADDON.join(', ')}`;
    patterns.push({ group: seenFrom('addon'), message });
  }
  return patterns;
}

const folders = (path) =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
const files = (path) =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.relative(path, join(entry.parentPath, entry.name)))
    .sort();

/** Files of one side that stand in no room of the list. */
export function roomless(root, side) {
  return files(join(root, side))
    .filter((file) => !AT_THE_TOP[side].includes(file) && !rooms(side).includes(file.split('/')[0]))
    .map(
      (file) =>
        `${side}/${file} is in no room: move it into one, or give its folder a floor in scripts/floors.js`,
    );
}

/** The #includes of native/ that run up or aside, and the circles among its headers. */
export function wrongIncludes(root) {
  const native = join(root, 'native');
  const known = files(native).filter((file) => /\.(c|cc|h)$/.test(file));
  const included = new Map(
    known.map((file) => [
      file,
      [...readFileSync(join(native, file), 'utf8').matchAll(/^#include "([^"]+)"/gm)].map(([, name]) => {
        const beside = posix.join(posix.dirname(file), name);
        // native/elf/ is C that is built as libelf: its files name each other without the room.
        return file.startsWith('elf/') && known.includes(beside) ? beside : name;
      }),
    ]),
  );
  const wrong = [];
  for (const [file, names] of included) {
    const room = file.split('/')[0];
    for (const name of names) {
      const other = name.split('/')[0];
      if (!known.includes(name))
        wrong.push(`native/${file} includes "${name}": write it from native/, with its room`);
      else if (
        !AT_THE_TOP.native.includes(file) &&
        other !== room &&
        floorOf('native', other) >= floorOf('native', room)
      )
        wrong.push(
          `native/${file} includes "${name}": ${numbered('native', room)} stands ${
            floorOf('native', other) === floorOf('native', room) ? 'beside' : 'below'
          } ${numbered('native', other)}: ${PAGE}`,
        );
    }
  }
  return [...wrong, ...circles(included)];
}

function circles(included) {
  const found = [];
  const done = new Set();
  const visit = (file, way) => {
    if (way.includes(file))
      found.push(`a circle of #includes: ${[...way.slice(way.indexOf(file)), file].join(' → ')}`);
    else if (!done.has(file)) {
      for (const name of included.get(file) ?? []) visit(name, [...way, file]);
      done.add(file);
    }
  };
  for (const file of included.keys()) visit(file, []);
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = join(ROOT, 'biome.floors.json');
  const config = `${JSON.stringify({ overrides: importRules(folders(join(ROOT, 'lib/cli'))) }, null, 2)}\n`;
  const wrong = [...roomless(ROOT, 'lib'), ...roomless(ROOT, 'native'), ...wrongIncludes(ROOT)];
  if (process.argv[2] === '--write') writeFileSync(path, config);
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== config)
    wrong.push('biome.floors.json has other rules than scripts/floors.js makes: npm run format writes it');
  for (const line of wrong) process.stdout.write(`${line}\n`);
  process.exitCode = wrong.length > 0 ? 1 : 0;
}
