// Makes the guest's initramfs: a cpio archive with the init, kernel modules, and the command to run.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 0o040755;
const EXECUTABLE = 0o100755;
const FILE = 0o100644;

/** cpio's "newc" format, uncompressed. */
function archive(entries) {
  const hex = (value) => value.toString(16).padStart(8, '0');
  const padding = (length) => Buffer.alloc((4 - (length % 4)) % 4);
  return Buffer.concat(
    [...entries, { path: 'TRAILER!!!', mode: 0 }].flatMap(({ path, mode, data = Buffer.alloc(0) }, index) => {
      const name = Buffer.from(`${path}\0`);
      const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
      const header = Buffer.from(`070701${fields.map(hex).join('')}`);
      return [header, name, padding(header.length + name.length), data, padding(data.length)];
    }),
  );
}

/** Terminates each string with a zero, as init.c reads them. */
const strings = (values) => Buffer.from(values.map((value) => `${value}\0`).join(''));

/** Returns the bytes of a module, decompressed by a tool: Node 20 supports neither format. */
function readModule(path) {
  const tool = { xz: 'xz', zst: 'zstd' }[path.split('.').at(-1) ?? ''];
  return tool ? execFileSync(tool, ['-dc', path], { maxBuffer: 1 << 28 }) : readFileSync(path);
}

/**
 * Returns the files of these modules and their dependencies, in load order. Built-in and absent modules have
 * no file.
 */
function modulesOf(folder, wanted) {
  const known = new Map();
  for (const path of readdirSync(folder, { recursive: true })) {
    const name = /([^/]+)\.ko(\.xz|\.zst)?$/.exec(path)?.[1];
    if (name) known.set(name.replaceAll('-', '_'), join(folder, path));
  }
  const loaded = new Map();
  const load = (name) => {
    const path = known.get(name);
    if (!path || loaded.has(name)) return;
    const data = readModule(path);
    const needs = /\0depends=([^\0]*)\0/.exec(data.toString('latin1'))?.[1] ?? '';
    for (const other of needs.split(',')) load(other.replaceAll('-', '_'));
    loaded.set(name, data);
  };
  for (const name of wanted) load(name.replaceAll('-', '_'));
  return loaded;
}

export function initramfs({ init, modules, wanted, command, environment, folder }) {
  const files = [...modulesOf(modules, wanted)];
  const paths = files.map(([name]) => `/modules/${name}.ko`);
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  return archive([
    ...['dev', 'modules', 'vm', 'r'].map((path) => ({ path, mode: FOLDER })),
    { path: 'init', mode: EXECUTABLE, data: readFileSync(init) },
    ...files.map(([name, data]) => ({ path: `modules/${name}.ko`, mode: FILE, data })),
    { path: 'vm/modules', mode: FILE, data: strings(paths) },
    { path: 'vm/command', mode: FILE, data: strings(command) },
    { path: 'vm/environment', mode: FILE, data: strings(variables) },
    { path: 'vm/folder', mode: FILE, data: strings([folder]) },
  ]);
}
