import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, describe, expect, it, test, vi } from 'vitest';
import { run as runCommand } from '../../lib/cli/run.ts';
import { positiveNumber } from '../../lib/cli/terminal/arguments.ts';
import { printable, report } from '../../lib/cli/terminal/output.ts';
import { tableLines } from '../../lib/cli/terminal/table.ts';
import { frame } from '../../lib/cli/top/frame.ts';
import { EbpfLoadError } from '../../lib/core/errors.ts';
import { bar, bytes, clock, count, duration, plural, rate } from '../../lib/format/units.ts';
import { Meter, means, type Sample, sum, type Tallies } from '../../lib/meters/packet-meter.ts';
import { CLI } from '../helpers/child.ts';
import { compile } from '../helpers/elf.ts';
import { addonFile } from '../helpers/fake.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';

const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** The command as a process of its own, as a shell starts it. */
function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, ...env },
    timeout: 15_000,
  });
  return { status, stdout, stderr };
}

/** The command in this process, by the function that main.ts calls: a process takes a quarter of a second to start. */
async function run(args: readonly string[], env: Record<string, string | undefined> = {}): Promise<Outcome> {
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += text;
      return true;
    });
  }
  const environment: Record<string, string | undefined> = { NO_COLOR: '1', FORCE_COLOR: undefined, ...env };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    await runCommand(args);
    return { status: Number(process.exitCode ?? 0), ...written };
  } finally {
    process.exitCode = before;
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  }
}

/** What a person may be shown of an error: a line that says it, and perhaps one that helps. */
function expectReadable(stderr: string): void {
  expect(stderr).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
}

describe('format', () => {
  test.each([
    [0, '0'],
    [999.6, '1,000'],
    [1_234_567, '1,234,567'],
    [9_999_999, '9,999,999'],
    [10_000_000, '10.0 M'],
    [999_499_999, '999 M'],
    [999_500_000, '1.00 G'],
    [2 ** 53, '9.01 P'],
  ])('count(%d) is %s', (value, text) => expect(count(value)).toBe(text));

  test.each([
    [0, '0 B'],
    [999.4, '999 B'],
    [999.5, '1.00 kB'],
    [1234, '1.23 kB'],
    [9_994, '9.99 kB'],
    [9_995, '10.0 kB'],
    [123_456, '123 kB'],
    [999_999, '1.00 MB'],
    [2 ** 53, '9.01 PB'],
    [1e22, '10000 EB'],
  ])('bytes(%d) is %s', (value, text) => expect(bytes(value)).toBe(text));

  test.each([
    [0, '0'],
    [0.5, '0.5'],
    [9.94, '9.9'],
    [9.95, '10'],
    [1234.4, '1,234'],
  ])('rate(%d) is %s', (value, text) => expect(rate(value)).toBe(text));

  test('duration, clock and plural', () => {
    expect([duration(2.449), duration(99.9), duration(86_400)]).toEqual(['2.4 s', '99.9 s', '86,400 s']);
    expect(clock(new Date(2026, 0, 2, 3, 4, 5))).toBe('03:04:05');
    expect([plural(1, 'map'), plural(0, 'map'), plural(1234, 'map')]).toEqual([
      '1 map',
      '0 maps',
      '1,234 maps',
    ]);
  });

  test('a bar is as long as its share, and never longer than its room', () => {
    expect(bar(0, 10, true)).toBe('');
    expect(bar(0.5, 10, true)).toBe('█████');
    expect(bar(0.55, 10, true)).toBe('█████▌');
    expect(bar(1, 10, true)).toBe('██████████');
    expect(bar(7, 10, true)).toBe('██████████');
    expect(bar(0.5, 10, false)).toBe('#####');
    for (let share = 0; share <= 1; share += 0.001) expect(bar(share, 7, true).length).toBeLessThanOrEqual(7);
  });
});

function tallies(tcp = 0, udp = 0): Tallies {
  return {
    tcp: { packets: tcp, bytes: tcp * 100 },
    udp: { packets: udp, bytes: udp * 50 },
    icmp: { packets: 0, bytes: 0 },
    other: { packets: 0, bytes: 0 },
  };
}

describe('Meter', () => {
  it('divides by the time that passed, not by the time that was planned', () => {
    let now = 5_000;
    let counters = tallies(10);
    const meter = new Meter(
      () => counters,
      () => now,
    );
    now += 2_500;
    counters = tallies(35, 5);
    const first = meter.sample();
    expect(first).toMatchObject({ elapsed: 2.5, totals: counters });
    expect(first.rates.tcp).toEqual({ packets: 10, bytes: 1000 });
    expect(first.rates.udp).toEqual({ packets: 2, bytes: 100 });

    now += 500;
    counters = tallies(36, 5);
    const second = meter.sample();
    expect(second.elapsed).toBe(3);
    expect(second.rates.tcp).toEqual({ packets: 2, bytes: 200 });
    expect(second.rates.udp).toEqual({ packets: 0, bytes: 0 });
    expect(means(second).tcp).toEqual({ packets: 12, bytes: 1200 });
    expect(sum(second.totals)).toEqual({ packets: 41, bytes: 3850 });
  });

  it('gives 0 and no infinity where no time has passed', () => {
    const meter = new Meter(
      () => tallies(1),
      () => 1,
    );
    expect(meter.sample().rates).toEqual(tallies());
  });
});

describe('the table of top', () => {
  const sample: Sample = {
    time: new Date(0),
    elapsed: 12.34,
    totals: tallies(123_456_789, 3_000_000),
    rates: tallies(1_500_000, 500_000),
  };
  const plain = new Writable(); // no terminal: no colours
  const lines = (columns: number, rows = 24, final = false): string[] =>
    frame({ subject: { iface: 'v0b', mode: 'drv' }, sample, final }, { columns, rows, stream: plain });

  it('has rates, totals and bars', () => {
    expect(lines(80)).toMatchInlineSnapshot(`
      [
        "v0b  drv (native)  12.3 s",
        "",
        "        packets/s   bytes/s     packets     bytes  share of packets",
        "tcp     1,500,000    150 MB       123 M   12.3 GB   75 % ███████████████",
        "udp       500,000   25.0 MB   3,000,000    150 MB   25 % █████",
        "icmp            0       0 B           0       0 B    0 %",
        "other           0       0 B           0       0 B    0 %",
        "total   2,000,000    175 MB       126 M   12.5 GB",
        "",
        "^C detaches and ends",
      ]
    `);
  });

  it('ends with the means of the whole run', () => {
    const [title, , , tcp, ...rest] = lines(80, 24, true);
    expect(title).toBe('v0b  drv (native)  12.3 s, detached: means and totals');
    expect(tcp).toMatch(/^tcp +10\.0 M /);
    expect(rest.at(-1)).toMatch(/^total/);
  });

  it('has a note under its title where there is something to say', () => {
    const subject = { iface: 'v0b', mode: 'skb' as const, note: 'drv: EOPNOTSUPP' };
    const drawn = frame({ subject, sample, final: false }, { columns: 80, rows: 24, stream: plain });
    expect(drawn.slice(0, 3)).toEqual([expect.stringMatching(/^v0b /), 'drv: EOPNOTSUPP', '']);
  });

  it('leaves out the bars, then the totals, where there is no room', () => {
    expect(lines(60).join('\n')).toContain('packets     bytes');
    expect(lines(60).join('\n')).not.toContain('share');
    expect(lines(40).join('\n')).toContain('packets/s   bytes/s');
    expect(lines(40).join('\n')).not.toContain('packets     bytes');
  });

  it('never needs more cells or lines than there are', () => {
    for (let columns = 1; columns <= 120; columns += 3) {
      for (const rows of [1, 5, 50]) {
        const drawn = lines(columns, rows);
        expect(drawn.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
        for (const line of drawn) expect(line.length).toBeLessThan(Math.max(columns, 1));
      }
    }
  });
});

test('a table aligns its columns and draws no lines', () => {
  const columns = [{ head: 'name' }, { head: 'size', align: 'right' as const }];
  expect(
    tableLines(columns, [
      ['a', '1'],
      ['longer', '12345'],
    ]),
  ).toEqual(['name     size', 'a           1', 'longer  12345']);
});

test('what a file says cannot command the terminal, and stays on one line', () => {
  expect(printable('xdp\x1b[2J\x07')).toBe('xdp\\u{1b}[2J\\u{7}');
  expect(printable('one\n  two\r\n')).toBe('one two ');
  expect(printable('a\u202eb\u2028c')).toBe('a\\u{202e}b\\u{2028}c');
  expect(printable('größe 大')).toBe('größe 大');
});

describe('report', () => {
  function reported(error: unknown, json = false): { status: number; stderr: string } {
    let stderr = '';
    const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      stderr += text;
      return true;
    });
    try {
      const status = report(error, { json });
      return { status, stderr: stripVTControlCharacters(stderr) };
    } finally {
      write.mockRestore();
    }
  }
  const refusal = new EbpfLoadError(
    'load refused (refused.bpf): permission denied: invalid access\nto packet',
    {
      code: 'EACCES',
      hint: 'the verifier refuses the program',
      verifierLog: '0: (61) r1 = *(u32 *)(r1 +0)\n'.repeat(100),
    },
  );

  it('keeps a refusal of the verifier to two lines', () => {
    const { status, stderr } = reported(refusal);
    expect(status).toBe(1);
    expect(stderr).toBe(
      'error: load refused (refused.bpf): permission denied: invalid access to packet\nhint: the verifier refuses the program\n',
    );
  });

  it('prints one JSON object', () => {
    const { name, code, message, hint } = refusal;
    expect(JSON.parse(reported(refusal, true).stderr)).toEqual({ error: { name, code, message, hint } });
  });

  it('calls a bug a bug', () => {
    const { status, stderr } = reported(new TypeError('x is not a function'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: x is not a function\nhint: this is a bug in node-ebpf: [^\n]+\n$/);
    expect(stderr).not.toContain('    at ');
    expect(reported('thrown text').stderr).toContain('error: thrown text\n');
  });
});

describe('arguments', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };

  it('says its version, without the addon', () => {
    const env = { NODE_EBPF_BINARY: '/nowhere.node' };
    expect(start(['--version'], env)).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each([
    [],
    ['top'],
    ['latency'],
    ['flows'],
    ['net'],
    ['inspect'],
    ['validate'],
    ['maps'],
    ['map'],
    ['map', 'dump'],
    ['map', 'get'],
    ['map', 'watch'],
  ])('explains itself: %s %s --help', async (...command) => {
    const { status, stdout, stderr } = await run([...command, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: node-ebpf ${command.join(' ')}`));
    expect(stdout).toContain('Examples:\n  $ node-ebpf ');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThan(120);
    const help = [...command.slice(0, -1), 'help', ...command.slice(-1)];
    if (command.length > 0) expect((await run(help)).stdout).toBe(stdout);
  });

  it('shows the help where no command is given', () => {
    const { status, stdout, stderr } = start([]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^Usage: node-ebpf /);
  });

  it.each([
    [['tpo'], "unknown command 'tpo'", 'Did you mean top?'],
    [['top', '--second', '1'], "unknown option '--second'", 'Did you mean --seconds?'],
    [['top', 'lo', 'eth1'], "too many arguments for 'top'", ''],
    [['inspect'], "missing required argument 'file'", ''],
    [['top', '--seconds'], "option '--seconds <n>' argument missing", ''],
    [['top', '--seconds', 'abc'], "'abc' is invalid. Expected a number above 0.", ''],
    [['top', '--seconds', '-1'], "'-1' is invalid. Expected a number above 0.", ''],
    [['top', '--seconds', '0'], "'0' is invalid. Expected a number above 0.", ''],
    [['map', 'dmup', '1'], "unknown command 'dmup'", 'Did you mean dump?'],
    [['map', 'dump'], "missing required argument 'map'", ''],
    [['map', 'dump', '1', '--limit', '0'], "'0' is invalid. Expected a whole number of at least 1.", ''],
    [['map', 'get', '1', 'x'], "'x' is invalid for argument 'key'. Expected a number, or bytes", ''],
    [['map', 'watch', '1', '--interval', '0'], "'0' is invalid. Expected a number above 0.", ''],
    [['top', '--mode', 'fast'], "'fast' is invalid. Allowed choices are hw, drv, skb.", ''],
  ])('refuses %j in one sentence', async (args, message, hint) => {
    const { status, stdout, stderr } = await run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expectReadable(stderr);
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    const { error } = JSON.parse((await run([...args, '--json'])).stderr.replace(/^$/, '{}')) as {
      error?: { name: string; code: string };
    };
    // Where an option lacks its value, --json is taken for it.
    if (args.at(-1) !== '--seconds')
      expect(error).toMatchObject({ name: 'UsageError', code: 'ERR_EBPF_USAGE' });
  });

  it('ends with the status that the command line deserves, as a process too', () => {
    expect(start(['top', '--seconds', '0', '--json'])).toMatchObject({ status: 2, stdout: '' });
    const bad = start(['validate', '/bin/true']);
    expect(bad).toMatchObject({ status: 1, stderr: '' });
    expect(bad.stdout).toContain('[elf-machine]');
  });

  test.each(['1', '0.5', '.5', '86400'])('%s is a number above 0', (text) =>
    expect(positiveNumber(text)).toBe(Number(text)),
  );
  test.each(['', ' ', '0', '0.0', '-1', '1e3', '0x10', 'Infinity', 'NaN', '1s', '١'])(
    '%j is not a number above 0',
    (text) => expect(() => positiveNumber(text)).toThrow('Expected a number above 0.'),
  );
});

describe('inspect and validate', () => {
  const object = shippedObject('xdp_counter');

  it('shows programs, maps, licence and BTF', async () => {
    const { status, stdout, stderr } = await run(['inspect', object]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^licence +Dual BSD\/GPL$/m);
    expect(stdout).toMatch(/^BTF +yes, 0 CO-RE relocations$/m);
    expect(stdout).toMatch(/^xdp_counter +xdp +xdp +[\d,]+$/m);
    expect(stdout).toMatch(/^packet_counters +percpu_array +4 B +16 B +4 +-$/m);
  });

  it('says what an object lacks', async () => {
    const xdp = 'SEC("xdp") int f(void *c) { return 2; }';
    const bare = await run(['inspect', file('bare.o', compile(xdp, { license: '', flags: [] }))]);
    expect(bare).toMatchObject({ status: 0, stderr: '' });
    expect(bare.stdout).toMatch(/^licence +none$/m);
    expect(bare.stdout).toMatch(/^BTF +no$/m);
    expect(bare.stdout).toMatch(/\nno maps\n$/);
    const definition = '__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __uint(map_flags, 1);';
    const map = `struct { ${definition} __type(key, int); __type(value, int); } m SEC(".maps");`;
    const { stdout } = await run(['inspect', file('map.o', compile(map))]);
    expect(stdout).toMatch(/^no programs$/m);
    expect(stdout).toMatch(/^m +hash +4 B +4 B +1 +0x1$/m);
  });

  it('says that nothing could be written', () => {
    const command = `exec "$@" >/dev/full`;
    const args = ['-c', command, 'sh', process.execPath, CLI, 'inspect', object];
    const { status, stderr } = spawnSync('sh', args, { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stripVTControlCharacters(stderr)).toMatch(/^error: write to standard output: ENOSPC[^\n]+\n$/);
  });

  it('prints one JSON object', async () => {
    const { status, stdout } = await run(['inspect', '--json', object]);
    expect(status).toBe(0);
    expect(stdout.trimEnd()).not.toContain('\n');
    expect(JSON.parse(stdout)).toMatchObject({
      license: 'Dual BSD/GPL',
      hasBtf: true,
      programs: [{ name: 'xdp_counter', section: 'xdp', type: 'xdp' }],
      maps: [{ name: 'packet_counters', type: 'percpu_array', keySize: 4, valueSize: 16, maxEntries: 4 }],
    });
  });

  it('finds a good object ok, and one that only the verifier refuses, too', async () => {
    expect(await run(['validate', object])).toEqual({
      status: 0,
      stdout: `${object}: ok (1 program, 1 map)\n`,
      stderr: '',
    });
    expect((await run(['validate', testObject('refused')])).status).toBe(0);
    expect(JSON.parse((await run(['validate', '--json', object])).stdout)).toMatchObject({
      ok: true,
      findings: [],
    });
  });

  it('tells warnings, and is ok all the same', async () => {
    const path = file('no-btf.o', readFileSync(testObject('refused')));
    execFileSync('llvm-strip-14', ['-g', '--remove-section=.BTF', '--remove-section=.BTF.ext', path]);
    const { status, stdout } = await run(['validate', path]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^warning: [^\n]+ \[btf-missing\]\n {2}remedy: [^\n]+\n/);
    expect(stdout).toContain(`${path}: ok (1 program, 0 maps; 1 warning)\n`);
  });

  it('colours for people only', async () => {
    expect((await run(['validate', object], { NO_COLOR: undefined })).stdout).not.toContain('\x1b');
    expect((await run(['validate', object], { NO_COLOR: undefined, FORCE_COLOR: '1' })).stdout).toContain(
      '\x1b[32mok',
    );
  });

  const good = readFileSync(object);
  const bigEndian = Buffer.from(good);
  bigEndian[5] = 2; // EI_DATA
  test.each<[string, string, () => string]>([
    ['a missing file', 'file-missing', () => join(folder, 'absent.o')],
    ['an empty file', 'elf-empty', () => file('empty.o', '')],
    ['a truncated object', 'elf-', () => file('half.o', good.subarray(0, good.length >> 1))],
    ['garbage', 'elf-magic', () => file('garbage.o', Buffer.alloc(4096, 'garbage'))],
    ['a program of this machine', 'elf-machine', () => '/bin/true'],
    ['a big-endian object', 'elf-byte-order', () => file('big.o', bigEndian)],
    ['a directory', 'file-type', () => folder],
    ['a FIFO', 'file-type', fifo],
    ['a 1 GiB sparse file', 'file-size', sparse],
    ['a name that would command the terminal', 'file-missing', () => join(folder, 'a\x1b[2J\nb.o')],
  ])('%s is refused in a line or two', async (_, rule, make) => {
    const path = make();
    const inspected = await run(['inspect', path]);
    expect(inspected).toMatchObject({ status: 1, stdout: '' });
    expectReadable(inspected.stderr);
    expect(inspected.stderr).not.toContain('\x1b');

    const { error } = JSON.parse((await run(['inspect', '--json', path])).stderr) as {
      error: Record<string, string>;
    };
    expect(error).toMatchObject({ name: 'EbpfValidationError', code: 'ERR_EBPF_INVALID_OBJECT' });
    expect(error.message).toContain(path);

    const validated = await run(['validate', path]);
    expect(validated).toMatchObject({ status: 1, stderr: '' });
    expect(validated.stdout).toContain(`[${rule}`);
    expect(validated.stdout).toMatch(/: not ok \(1 error\)\n$/);
    expect(validated.stdout).not.toContain('\x1b');
    const json = await run(['validate', '--json', path]);
    expect(json).toMatchObject({ status: 1, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, findings: [{ level: 'error', place: path }] });
  });

  it('holds an object against a kernel’s BTF that is named', async () => {
    const object = file(
      'core.o',
      compile(`struct thing { int field; } __attribute__((preserve_access_index));
        SEC("xdp") int f(void *c) { return ((struct thing *)c)->field; }`),
    );
    const { status, stdout } = await run(['validate', '--btf', object, object]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${object}: ok (1 program, 0 maps)\n` });
    const absent = await run(['validate', '--btf', shippedObject('xdp_counter'), object]);
    expect(absent).toMatchObject({ status: 1, stdout: expect.stringContaining('[core-type-missing]') });
    expect((await run(['validate', '--btf', folder, object])).stdout).toContain('[btf-kernel]');
  });

  function file(name: string, content: string | Uint8Array): string {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  }

  function fifo(): string {
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    return join(folder, 'fifo');
  }

  function sparse(): string {
    const fd = openSync(join(folder, 'sparse.o'), 'w');
    ftruncateSync(fd, 2 ** 30);
    closeSync(fd);
    return join(folder, 'sparse.o');
  }
});

describe('doctor, on other machines', () => {
  /** With these members of the addon, and this change to the system before the command starts. */
  function diagnosed(members: string, system = '', args: readonly string[] = []): Outcome {
    const script = join(folder, 'system.mjs');
    const head = `import fs from 'node:fs'; import os from 'node:os'; import { syncBuiltinESMExports } from 'node:module';
      const { readFileSync } = fs; const files = {};
      fs.readFileSync = (path, ...rest) => files[path] ?? readFileSync(path, ...rest);`;
    writeFileSync(script, `${head}\n${system}\nsyncBuiltinESMExports();\n`);
    const options = `${process.env.NODE_OPTIONS ?? ''} --import ${script}`;
    return start(['doctor', ...args], { NODE_EBPF_BINARY: addonFile(members), NODE_OPTIONS: options });
  }

  const PROBE = `probe: async (helpers) => ({ programTypes: { xdp: 0 }, mapTypes: { ringbuf: 0 }, jit: 0, jitedBytes: 9,
    helpers: helpers.map(() => 0), tcx: 0, xdpLink: 0, batch: 0, fentry: 0, kprobe: 0, token: 0, runStats: 0 })`;

  it('tells what it cannot list, and does all the rest', () => {
    const refused = `${PROBE}, interfaces: () => { throw failure(12, 'netlink'); }`;
    const { status, stdout } = diagnosed(refused, '', ['--json']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      interfaces: [],
      programTypes: { xdp: 'yes' },
      remedies: {
        interfaces: expect.stringMatching(/^list the interfaces of this process's network namespace: /),
      },
    });
  });

  it('tells what it cannot ask of an interface, in its row', () => {
    const one = `interfaces: () => [{ ifindex: 7, name: 'eth7', up: true }]`;
    const { status, stdout } = diagnosed(
      `${PROBE}, ${one}, xdpQuery: () => { throw failure(19, 'netlink'); }`,
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^eth7 +up +- +query XDP on ifindex 7: /m);
    const held = `xdpQuery: () => ({ attachMode: 2, skb: 5, drv: 0, hw: 0, features: 3 })`;
    expect(diagnosed(`${PROBE}, ${one}, ${held}`).stdout).toMatch(/^eth7 +up +5 \(skb\) +basic, redirect$/m);
  });

  it('takes a mistake of its own for one', () => {
    const { status, stderr } = diagnosed(`${PROBE}, interfaces: () => { throw new TypeError('ours'); }`);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: ours\nhint: this is a bug in node-ebpf/);
  });

  const SYSTEM = `files['/proc/self/limits'] = 'Max locked memory 65536 65536 bytes';
    files['/proc/sys/kernel/unprivileged_bpf_disabled'] = '0';
    files['/proc/self/mountinfo'] = '1 0 0:1 / /b rw - bpf b rw\\n2 0 0:1 / /t rw - tracefs t rw';
    files['/sys/kernel/security/lockdown'] = '[none]';
    fs.accessSync = () => {};`;

  it('tells the limits of an old kernel', () => {
    const { stdout } = diagnosed(PROBE, `${SYSTEM} os.release = () => '5.10.1';`);
    expect(stdout).toMatch(/^kernel +5\.10\.1$/m);
    expect(stdout).toMatch(/^memlock limit +65\.5 kB$/m);
    expect(stdout).toMatch(/^unprivileged BPF +allowed \(kernel\.unprivileged_bpf_disabled is 0\)$/m);
  });

  it('says nothing of remedies where nothing is missing', () => {
    const { stdout } = diagnosed(PROBE, SYSTEM);
    expect(stdout).toMatch(/^memlock limit +65\.5 kB, not used for maps since Linux 5\.11$/m);
    expect(stdout).not.toContain('remedies');
  });

  it('does not guess what /proc does not tell', () => {
    const none = `fs.readFileSync = (path, ...rest) => {
        if (/unprivileged_bpf|limits$/.test(path)) throw Object.assign(new Error('gone'), { code: 'ENOENT' });
        return readFileSync(path, ...rest);
      };
      fs.readlinkSync = () => 'user:[4026532000]';`;
    const { stdout } = diagnosed(PROBE, none);
    expect(stdout).toMatch(/^memlock limit +none$/m);
    expect(stdout).toMatch(/^unprivileged BPF +unknown$/m);
    expect(stdout).toMatch(/^capabilities .*: in a user namespace, where BPF ignores them$/m);
    const { memlockBytes, unprivilegedBpfDisabled } = JSON.parse(diagnosed(PROBE, none, ['--json']).stdout);
    expect({ memlockBytes, unprivilegedBpfDisabled }).toEqual({
      memlockBytes: null,
      unprivilegedBpfDisabled: null,
    });
  });
});
