// What a user gets: the tarball that npm would publish, installed where no compiler is, and the README's first example.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Netns } from '../helpers/netns.ts';
import { APP, install, pack, type Tarball } from '../helpers/tarball.ts';
import { until } from '../helpers/until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const packageJson = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  gypfile?: boolean;
  scripts: Record<string, string>;
  bin: Record<string, string>;
};

let folder: string;
let tarball: Tarball;
let app: string;
let environment: NodeJS.ProcessEnv;

/** The PATH holds what npm itself runs, and nothing that compiles. */
const TOOLS = ['node', 'npm', 'sh', 'env'];
const ABSENT = ['cc', 'gcc', 'g++', 'c++', 'clang', 'clang-14', 'ld', 'make', 'cmake', 'python3', 'node-gyp'];

beforeAll(() => {
  execFileSync(`${root}scripts/prebuild`, { cwd: root, stdio: 'pipe' });
  folder = mkdtempSync(join(tmpdir(), 'node-ebpf-consumer-'));
  tarball = pack(folder);

  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const tool of TOOLS) {
    const file = tool === 'node' ? process.execPath : which(tool);
    symlinkSync(realpathSync(file), join(bin, tool));
  }
  environment = { ...withoutNode(process.env), PATH: bin };

  app = join(folder, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), APP);
  install(app, join(folder, tarball.filename), environment);
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the tarball', () => {
  it('holds the library, the BPF objects with their sources, and the binaries', () => {
    const paths = tarball.files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        'package.json',
        'README.md',
        'LICENSE',
        'CHANGELOG.md',
        'THIRD_PARTY_LICENSES',
        'dist/index.js',
        'dist/index.d.ts',
        'dist/programs/index.js',
        'dist/cli/main.js',
        'dist/bpf/xdp_counter.bpf.o',
        'dist/page/index.html',
        'dist/page/uplot.js',
        'bpf/xdp_counter.bpf.c',
        'bpf/xdp_counter.h',
        'prebuilds/manifest.json',
        'prebuilds/sbom.cdx.json',
        `prebuilds/linux-${process.arch}-gnu.node`,
      ]),
    );
    const allowed =
      /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|THIRD_PARTY_LICENSES|dist\/.+\.(js|js\.map|cjs|d\.ts|bpf\.o)|dist\/page\/[a-z]+\.(html|css|svg)|bpf\/[^/]+\.(bpf\.c|h)|prebuilds\/(manifest\.json|sbom\.cdx\.json|linux-(x64|arm64)-(gnu|musl)\.node))$/;
    expect(paths.filter((path) => !allowed.test(path))).toEqual([]);
  });

  it('is no larger than 2.5 MB', () => {
    expect(tarball.size).toBeLessThanOrEqual(2.5e6);
  });

  it('makes the command executable', () => {
    const command = tarball.files.find(({ path }) => path === packageJson.bin['node-ebpf']);
    expect(command?.mode).toBe(0o755);
  });

  it.each([
    ['publint', ['run', '--strict']],
    ['attw', ['--profile', 'esm-only']],
  ])('%s has nothing to say against it', (tool, args) => {
    const { status, stdout, stderr } = spawnSync(
      `${root}node_modules/.bin/${tool}`,
      [...args, join(folder, tarball.filename)],
      { encoding: 'utf8' },
    );
    expect(status, stdout + stderr).toBe(0);
  });

  // With either missing, npm or the registry invents `node-gyp rebuild` as an install script.
  it('gives npm no reason to compile', () => {
    expect(packageJson.gypfile).toBe(false);
    expect(tarball.files.map(({ path }) => path)).not.toContain('binding.gyp');
  });

  it('has no script that runs on installation', () => {
    const lifecycle = /^(pre|post)?(install|prepare)$|^(pre|post)?prepublish$|^dependencies$/;
    expect(Object.keys(packageJson.scripts).filter((name) => lifecycle.test(name))).toEqual([]);
  });
});

describe('an application without a compiler', () => {
  it('really has none', () => {
    for (const tool of ABSENT) {
      expect(spawnSync('sh', ['-c', `command -v ${tool}`], { env: environment }).status, tool).not.toBe(0);
    }
  });

  it('imports the package, and requires it', () => {
    const entries = ['node-ebpf', 'node-ebpf/programs', 'node-ebpf/metrics', 'node-ebpf/control'];
    for (const entry of entries) {
      run(['--input-type=module', '-e', `await import('${entry}')`]);
      run(['--input-type=commonjs', '-e', `require('${entry}')`]);
    }
    run(['--input-type=commonjs', '-e', `require('node-ebpf/package.json')`]);
  });

  it('has one class of each kind, whichever entry point is imported', () => {
    run([
      '--input-type=module',
      '-e',
      `import { EbpfError } from 'node-ebpf';
       import { XdpGuard } from 'node-ebpf/programs';
       const thrown = await XdpGuard.attach({ iface: 'no-such-iface' }).catch((error) => error);
       if (!(thrown instanceof EbpfError)) throw new Error('another EbpfError', { cause: thrown });`,
    ]);
  });

  it('runs on the prebuilt binary', () => {
    const mapped = run([
      '--input-type=module',
      '-e',
      `import { readFileSync } from 'node:fs';
       import { possibleCpus } from 'node-ebpf';
       if (!(possibleCpus() > 0)) throw new Error('no CPU');
       console.log(readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S+\\.node$/gm).join('\\n'));`,
    ]);
    const expected = join(app, `node_modules/node-ebpf/prebuilds/linux-${process.arch}-gnu.node`);
    expect(new Set(mapped.trim().split('\n'))).toEqual(new Set([realpathSync(expected)]));
  });

  it('has the command', () => {
    const command = join(app, 'node_modules/.bin/node-ebpf');
    const { status, stdout } = spawnSync(command, ['--help'], {
      cwd: app,
      env: environment,
      encoding: 'utf8',
    });
    expect(status).toBe(0);
    expect(stdout).toContain('node-ebpf');
  });

  it.each([
    ['Node’s', ['--module', 'nodenext']],
    ['a bundler’s', ['--module', 'preserve', '--moduleResolution', 'bundler']],
  ])('type-checks against the declarations, by %s resolution', (_, resolution) => {
    writeFileSync(
      join(app, 'consumer.ts'),
      "import * as ebpf from 'node-ebpf';\nimport * as programs from 'node-ebpf/programs';\nconsole.log(ebpf, programs);\n",
    );
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        `${root}node_modules/typescript/bin/tsc`,
        '--noEmit',
        '--strict',
        '--target',
        'es2023',
        '--lib',
        'es2023,esnext.disposable',
        ...resolution,
        '--types',
        'node',
        '--typeRoots',
        `${root}node_modules/@types`,
        'consumer.ts',
      ],
      { cwd: app, encoding: 'utf8' },
    );
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });

  it('serves the page, and what it loads', async () => {
    const netns = new Netns();
    netns.upLoopback();
    const command = join(app, 'node_modules/.bin/node-ebpf');
    const options = ['serve', '--netns', netns.path, '--listen', '127.0.0.1:0', '--programs', 'packets'];
    const child = spawn(command, options, { cwd: app, env: environment });
    const exited = once(child, 'exit');
    try {
      let said = '';
      child.stdout.on('data', (data: Buffer) => {
        said += data.toString();
      });
      const [, url = ''] = await until(() => /^serving (\S+)\n/.exec(said));
      const page = await (await fetch(url)).text();
      const names = [...page.matchAll(/ (?:src|href)="(\w[\w.]*)"/g)].map(([, name = '']) => name);
      expect(names).toEqual(expect.arrayContaining(['page.js', 'page.css', 'uplot.css', 'icon.svg']));
      for (const name of names) expect((await fetch(new URL(name, url))).status, name).toBe(200);
      child.kill('SIGTERM');
      expect(await exited).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
      netns.close();
    }
  });

  it('counts packets with the first example of the README', async () => {
    writeFileSync(join(app, 'example.js'), firstExample(readFileSync(`${root}README.md`, 'utf8')));
    const netns = new Netns();
    const inside = (...command: string[]) => ['netns', 'exec', netns.name, ...command];
    const children: ChildProcess[] = [];
    try {
      netns.upLoopback();
      const bin = `PATH=${environment.PATH}`;
      const sender = spawn('ip', inside('env', '-i', bin, 'node', '-e', SENDER), { stdio: 'ignore' });
      const example = spawn('ip', inside('env', '-i', bin, 'node', 'example.js'), { cwd: app });
      children.push(sender, example);
      const said = { out: '', err: '' };
      const exited = once(example, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
      const counted = new Promise<void>((resolve) => {
        example.stdout.on('data', (data: Buffer) => {
          said.out += data.toString();
          if (COUNT.test(said.out)) resolve();
        });
      });
      example.stderr.on('data', (data: Buffer) => {
        said.err += data.toString();
      });
      await Promise.race([counted, exited, deadline(60_000)]);
      expect(said.out, said.err).toMatch(COUNT);
      // An example that goes on until it is interrupted ends well when it is.
      const [code, signal] = await Promise.race([
        exited,
        deadline(10_000).then(() => {
          example.kill('SIGINT');
          return exited;
        }),
      ]);
      expect(signal ?? code, said.err).toBeOneOf([0, 130, 'SIGINT']);
      expect(said.err).toBe('');
    } finally {
      for (const child of children) child.kill('SIGKILL');
      netns.close();
    }
  });
});

/** A number of packets above zero, beside a word that says so, in either order and as an object or as text. */
const COUNT = /packets\W{0,6}[1-9]|[1-9][\d,]*\s+packets/i;

/** Datagrams to a closed port of the loopback: two frames each, the other being ICMP's answer. */
const SENDER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('error', () => {});
  setInterval(() => socket.send('x', 9, '127.0.0.1', () => {}), 20);
`;

function firstExample(readme: string): string {
  const blocks = readme.matchAll(/^```(?:js|javascript|mjs)\n(.*?)^```$/gms);
  for (const [, code] of blocks) {
    if (code?.includes("from 'node-ebpf")) return code;
  }
  throw new Error("README.md has no ```js block that imports from 'node-ebpf'");
}

function run(args: string[]): string {
  const { status, stdout, stderr } = spawnSync('node', args, {
    cwd: app,
    env: environment,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return stdout;
}

/** npm's settings stay, since they lead to the registry; whatever tells Node or this package what to load goes. */
function withoutNode(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) => !/^(NODE_(?!EXTRA_CA_CERTS)|VITEST|LD_|npm_lifecycle|INIT_CWD)/.test(name),
    ),
  );
}

function which(tool: string): string {
  return execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim();
}

function deadline(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
