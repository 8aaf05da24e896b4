// The tarball that npm would publish, installed by npm without a script, and a user's program over it on other machines.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { kernelFolder } from '../../scripts/vm/kernels.js';
import { runInGuest } from '../../scripts/vm/machine.js';
import { APP, install, pack, type Tarball } from '../helpers/tarball.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = fileURLToPath(new URL('user.mjs', import.meta.url));
const roots = (name: string) => join(ROOT, '.cache', 'roots', name);

interface Answer {
  arch: string;
  addon: string[];
  packets: { lo: number; during: string[]; after: string[]; seen: Record<string, number | string> };
  calls: number;
  readOuts: { sums: Record<string, number | string>; cpus: number };
  refused: unknown;
}

let folder: string;
let app: string;
let tarball: Tarball;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-release-'));
  tarball = pack(folder);
  app = join(folder, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), APP);
  install(app, join(folder, tarball.filename));
  cpSync(PROGRAM, join(app, 'user.mjs'));
});
beforeEach(() => {
  for (const name of ['musl', 'arm64']) rmSync(join(roots(name), 'app'), { recursive: true, force: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Of exactly so many datagrams on lo, whatever the machine. */
function expectWhatUsersSee(
  answer: Answer,
  machine: { arch: string; addon: string; cpus: number },
  place = '/app',
) {
  const { packets, readOuts } = answer;
  expect(answer.arch).toBe(machine.arch);
  expect(answer.addon).toEqual([`${place}/node_modules/node-ebpf/prebuilds/${machine.addon}.node`]);
  expect(packets.during).toEqual(expect.arrayContaining(['xdp_counter', 'tc_ingress', 'tc_egress']));
  expect(packets.after).not.toEqual(expect.arrayContaining([expect.stringMatching(/^(xdp_counter|tc_)/)]));
  const { lo } = packets;
  expect(lo).toBeGreaterThanOrEqual(100);
  expect(packets.seen).toEqual({ mode: 'skb', udp: 100, all: lo, ingress: lo, egress: lo, flows: 2 });
  expect(answer.calls).toBeGreaterThanOrEqual(100);
  const sum = readOuts.cpus * (299 * 150); // 0 to 299, on each CPU
  expect(readOuts).toEqual({ cpus: machine.cpus, sums: { batch: sum, snapshot: sum, lookup: sum } });
  expect(answer.refused).toEqual(['EbpfError', 'ENOENT', expect.stringContaining('there is no such id')]);
}

/** This machine, by another C library or another Node. */
function here(libc: string) {
  const possible = spawnSync('getconf', ['_NPROCESSORS_CONF'], { encoding: 'utf8' }).stdout;
  return { arch: process.arch, addon: `linux-${process.arch}-${libc}`, cpus: Number(possible) };
}

/** In a network namespace that ends with it. */
function runHere(node: string, place: string): Answer {
  const command = ['--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', node, 'user.mjs'];
  const { status, stdout, stderr } = spawnSync('unshare', command, { cwd: place, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as Answer;
}

it('all four binaries are in it, in 2.5 MB', () => {
  const binaries = tarball.files.map(({ path }) => path).filter((path) => path.endsWith('.node'));
  const names = ['arm64-gnu', 'arm64-musl', 'x64-gnu', 'x64-musl'];
  expect(binaries.sort()).toEqual(names.map((name) => `prebuilds/linux-${name}.node`));
  expect(tarball.size).toBeLessThanOrEqual(2.5e6);
});

it('on musl, by a JavaScript engine that is no Node', () => {
  const root = roots('musl');
  cpSync(app, join(root, 'app'), { recursive: true });
  // Namespaces of its own: what is mounted and attached there ends with it.
  const script = `set -e
    ip link set lo up
    for each in proc sys dev; do mount --rbind "/$each" "$0/$each"; done
    exec chroot "$0" /bin/bun /app/user.mjs`;
  const options = ['--net', '--mount', '--propagation', 'private'];
  const { status, stdout, stderr } = spawnSync('unshare', [...options, 'sh', '-c', script, root], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  expectWhatUsersSee(JSON.parse(stdout) as Answer, here('musl'));
});

it.each(['22', '24', '26'])('in Node %s', (version) => {
  const answer = runHere(join(roots('npm'), `node-${version}`, 'bin', 'node'), app);
  expectWhatUsersSee(answer, here('gnu'), app);
});

it.each([
  ['pnpm', ['bin/pnpm.cjs', 'add', '--ignore-scripts', '--store-dir', 'store']],
  ['yarn', ['bin/yarn.js', 'add', '--ignore-scripts', '--non-interactive', '--cache-folder', 'cache']],
])('installed by %s', (manager, [script = '', ...options]) => {
  const other = join(folder, manager);
  mkdirSync(other);
  writeFileSync(join(other, 'package.json'), APP);
  cpSync(PROGRAM, join(other, 'user.mjs'));
  const command = [join(roots('npm'), manager, script), ...options, join(folder, tarball.filename)];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: other, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
  const answer = runHere(process.execPath, other);
  // pnpm's node_modules has links to where the package is.
  const addon = join(other, 'node_modules', 'node-ebpf', 'prebuilds', `${here('gnu').addon}.node`);
  expect(answer.addon).toEqual([realpathSync(addon)]);
  expect(answer.packets.seen).toMatchObject({ udp: 100 });
});

it.each([
  ['gnu', 'node'],
  ['musl', 'bun'],
])('on arm64, in a guest with Debian’s kernel, on %s by %s', async (libc, engine) => {
  const root = roots('arm64');
  cpSync(app, join(root, 'app'), { recursive: true });
  const cache = join(ROOT, '.cache', 'vm');
  const said = { out: '', err: '' };
  const status = await runInGuest({
    kernel: kernelFolder('6.1', cache, 'arm64'),
    architecture: 'arm64',
    root,
    cache,
    command: [`/bin/${engine}`, '/app/user.mjs'],
    environment: { PATH: '/bin:/usr/bin' },
    folder: '/app',
    seconds: 900,
    out: (bytes: Buffer) => {
      said.out += bytes.toString();
    },
    err: (bytes: Buffer) => {
      said.err += bytes.toString();
    },
  });
  expect(status, said.err).toBe(0);
  expectWhatUsersSee(JSON.parse(said.out) as Answer, {
    arch: 'arm64',
    addon: `linux-arm64-${libc}`,
    cpus: 2,
  });
});
