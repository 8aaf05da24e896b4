// An application in one file: the build scripts of docs/bundlers.md, and what they make, where no node_modules is.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../helpers/netns.ts';
import { APP, install, pack } from '../helpers/tarball.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const TARGETS = ['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl'];
const BUNDLERS = ['esbuild', 'rollup', '@rollup/plugin-commonjs', '@rollup/plugin-node-resolve'];

/** Counts datagrams to itself on lo, and says which binaries it opened. */
const SOURCE = `
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { possibleCpus } from 'node-ebpf';
import { XdpCounter } from 'node-ebpf/programs';

const counter = await XdpCounter.attach({ iface: 'lo', mode: 'skb' });
const socket = createSocket('udp4').bind(0, '127.0.0.1');
await new Promise((resolve) => socket.once('listening', resolve));
for (let i = 0; i < 10; i++) {
  const arrived = new Promise((resolve) => socket.once('message', resolve));
  socket.send('x'.repeat(58), socket.address().port, '127.0.0.1');
  await arrived;
}
const { udp } = counter.read();
socket.close();
counter.close();
const opened = new Set(readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S+\\.node$/gm));
console.log(JSON.stringify({ cpus: possibleCpus(), ...udp, opened: [...opened] }));
`;

let folder: string;
let app: string;

beforeAll(() => {
  execFileSync(`${root}scripts/prebuild`, { cwd: root, stdio: 'pipe' });
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-bundlers-'));
  app = join(folder, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), APP);
  writeFileSync(join(app, 'app.js'), SOURCE);
  install(app, join(folder, pack(folder).filename));
  for (const target of TARGETS) {
    const file = join(app, `node_modules/node-ebpf/prebuilds/${target}.node`);
    if (!existsSync(file)) writeFileSync(file, ''); // scripts/prebuild makes this machine's alone
  }
  for (const name of BUNDLERS) {
    const link = join(app, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(`${root}node_modules/${name}`, link);
  }
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The block of the page that begins with a file's name. */
function documented(name: string): string {
  const page = readFileSync(`${root}docs/bundlers.md`, 'utf8');
  const blocks = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code = '']) => code);
  const block = blocks.find((code) => code.startsWith(`// ${name}\n`));
  if (block === undefined) throw new Error(`docs/bundlers.md has no block for ${name}`);
  return block;
}

it.each([
  ['esbuild', 'build.mjs', ['build.mjs']],
  [
    'Rollup',
    'rollup.config.mjs',
    [`${root}node_modules/rollup/dist/bin/rollup`, '--config', '--failAfterWarnings'],
  ],
])('a bundle by %s counts packets without node_modules', (bundler, file, command) => {
  writeFileSync(join(app, file), documented(file));
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: app, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
  const bundle = join(folder, bundler);
  renameSync(join(app, 'out'), bundle);

  using netns = new Netns();
  netns.upLoopback();
  const { opened, ...counted } = JSON.parse(netns.exec(process.execPath, [join(bundle, 'app.mjs')]));
  const [lo] = JSON.parse(netns.ip('-json', '-statistics', 'link', 'show', 'lo'));
  const { packets, bytes } = lo.stats64.rx;
  expect({ packets, bytes }).toEqual({ packets: 10, bytes: 10 * (20 + 8 + 58) });
  const ethernet = 14; // which lo does not count
  expect(counted).toEqual({ cpus: expect.any(Number), packets, bytes: bytes + ethernet * packets });
  expect(opened).toEqual([expect.stringContaining(`${bundle}/`)]);
});
