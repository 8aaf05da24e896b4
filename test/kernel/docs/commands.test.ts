// Each `node-ebpf …` of the documents runs as it stands, in its place, and what a session shows is what it prints.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blocks, exampleFolder, exampleNetns, ROOT } from '../../helpers/documents.ts';
import { assertNothingLeft, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import type { Netns } from '../../helpers/netns.ts';
import { SLOWNESS } from '../../helpers/slowness.ts';
import { until } from '../../helpers/until.ts';

/** For those that go on until they are interrupted. */
const SECONDS = 4 * SLOWNESS;
/** The C of the documents, and what test/bpf/ has of the same name for docs.test.ts. */
const SOURCES = { my_program: 'docs/getting-started.md', execs: 'docs/tracing.md' };
const ARCHITECTURE_S = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
/** What the documents take for granted: a process, and what somebody else's program left. */
const SOME_PID = '4711';
const SOMEBODY_S = `node-ebpf load xdp_counter.bpf.o
bpftool map pin pinned /sys/fs/bpf/node-ebpf/xdp_counter-1/maps/packet_counters /sys/fs/bpf/packet_counters`;
/** Maps are not of a namespace: a test beside this one may have some of that name too. Then it runs again. */
const AMBIGUOUS = /the kernel has \d+ maps "/;
const WAIT_MS = 180_000;

let before: Snapshot;
let folder: string;
let netns: Netns;

beforeAll(() => {
  before = snapshotIds(['my_map', 'my_program', 'packet_counters', 'xdp_counter']);
  folder = exampleFolder();
  mkdirSync(join(folder, 'bin'));
  const command = join(folder, 'bin', 'node-ebpf');
  writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${ROOT}dist/cli/main.js' "$@"\n`);
  chmodSync(command, 0o755);
  for (const [name, document] of Object.entries(SOURCES)) {
    writeFileSync(join(folder, `${name}.bpf.c`), source(document));
  }
  const clang = ['clang-14', 'clang'].map(which).find((path) => path !== '') ?? '';
  symlinkSync(clang, join(folder, 'bin', 'clang'));
  netns = exampleNetns();
});
afterAll(async () => {
  netns.close();
  rmSync(folder, { recursive: true });
  await assertNothingLeft(before);
});

/** Commands one after another, in mounts of their own: what each printed, and how it ended. */
function run(commands: readonly string[], preparation = '') {
  const steps = commands.map(
    (command, index) => `timeout --preserve-status --signal INT ${SECONDS} ${command} >${index}.out 2>&1
      echo "$?" >${index}.status`,
  );
  const script = `mount -t bpf bpf /sys/fs/bpf\n${preparation}\n${steps.join('\n')}`;
  const { status, stderr } = spawnSync(
    'ip',
    ['netns', 'exec', netns.name, 'unshare', '--mount', 'sh', '-c', script],
    {
      cwd: folder,
      encoding: 'utf8',
      env: {
        ...process.env,
        NO_COLOR: '1',
        FORCE_COLOR: undefined,
        PATH: `${folder}/bin:${process.env.PATH}`,
        // Where libbpf-dev would put them, and asm/types.h, which Debian keeps in a folder of the architecture's.
        C_INCLUDE_PATH: `${ROOT}.cache/libbpf/headers:${ARCHITECTURE_S}`,
      },
    },
  );
  expect(status, stderr).toBe(0);
  const read = (name: string) => readFileSync(join(folder, name), 'utf8');
  return commands.map((command, index) => ({
    command,
    status: Number(read(`${index}.status`)),
    output: read(`${index}.out`),
  }));
}

function source(document: string): string {
  return blocks(document, 'c')
    .map(({ code }) => code)
    .join('');
}

describe.each([
  ['README.md', 15, ''],
  ['docs/getting-started.md', 3, ''],
  ['docs/tracing.md', 1, ''],
  ['docs/maps.md', 4, SOMEBODY_S],
  ['docs/programs.md', 1, ''],
  ['docs/serve.md', 1, ''],
])('%s', (document, least, preparation) => {
  it('its commands end well', { timeout: WAIT_MS + 60_000 * SECONDS }, async () => {
    const commands = blocks(document, 'sh')
      .flatMap(({ code }) => code.split('\n'))
      .filter((line) => /^(node-ebpf|clang) /.test(line))
      .map((line) => line.replace(/\s+#.*$/, '').replace(SOME_PID, String(process.pid)));
    expect(commands.length).toBeGreaterThanOrEqual(least);
    const ended = await until(
      () => {
        const ended = run(commands, preparation);
        return !ended.some(({ output }) => AMBIGUOUS.test(output)) && ended;
      },
      () => 'somebody else has maps of the same names',
      WAIT_MS,
    );
    for (const { command, status, output } of ended) {
      // 130: it was interrupted, as it says.
      expect(status, `${command}\n${output}`).toBeOneOf([0, 130]);
      if (command.startsWith('node-ebpf ')) expect(output, command).not.toBe('');
    }
  });
});

it.each(Object.entries(SOURCES))('%s.bpf.c is what the document shows', (name, document) => {
  const ours = readFileSync(join(ROOT, 'test', 'bpf', `${name}.bpf.c`), 'utf8');
  expect(ours.replace(/^(?:\/\/.*\n|\/\*.*\*\/\n)*/, '')).toBe(source(document));
});

describe('README.md', () => {
  const sessions = blocks('README.md', '')
    .map(({ code }) => code)
    .filter((code) => code.startsWith('$ '));

  it('has a session', () => expect(sessions).toHaveLength(1));

  it.each(sessions)('its session prints what it shows', (session) => {
    const shown = session.split(/^\$ /m).slice(1);
    const commands = shown.map((text) => text.slice(0, text.indexOf('\n')));
    const printed = run(commands).map(({ command, output }) => alike(`${command}\n${output}`));
    expect(printed).toEqual(shown.map(alike));
  });
});

function which(tool: string): string {
  return spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim();
}

/** The bytes of a map depend on the number of CPUs. */
function alike(text: string): string {
  return text.trim().replaceAll(/\d+ B\b/g, 'N B');
}
