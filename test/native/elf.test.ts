// native/elf against elfutils' libelf, and native/elf and libbpf's ways of opening files under sanitizers. All inputs
// are made here: the corpus is compiled, and its variants come from a seed (ELF_SEED=… for others).
import { type ExecFileException, execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const elf = join(root, 'native/elf');
const readers = ['elf.c', 'elf_rules.c', 'gelf.c', 'section.c'].map((file) => join(elf, file));
const here = import.meta.dirname;
const work = mkdtempSync(join(tmpdir(), 'node-ebpf-elf-'));
const seed = process.env.ELF_SEED ?? '20250801';
const minutes = 60_000;

const warnings = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE'];
const sanitizers = ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
const sanitizerEnvironment = {
  ...process.env,
  ASAN_OPTIONS: 'allocator_may_return_null=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
};

const execute = promisify(execFile);

const packages: Record<string, string> = { gcc: 'gcc', 'clang-14': 'clang-14' };

async function run(tool: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  try {
    const { stdout } = await execute(tool, args, { ...options, maxBuffer: 2 ** 29 - 1, encoding: 'latin1' });
    return stdout;
  } catch (error) {
    const failure = error as ExecFileException & { stderr?: string };
    if (failure.code === 'ENOENT') {
      throw new Error(
        `${tool} is not on this machine: these tests need it (Debian: apt-get install ${packages[tool] ?? tool})`,
      );
    }
    throw new Error(`${tool} ${args.join(' ')}\n${failure.stderr ?? failure.message}`);
  }
}

async function compile(output: string, args: string[]) {
  await run('gcc', [...args, '-o', join(work, output)]);
  return join(work, output);
}

// What DWARF says of folders must not change the variants.
const reproducible = [`-ffile-prefix-map=${here}=.`, '-fdebug-compilation-dir=.'];

async function compileCorpus() {
  const corpus = join(here, 'corpus');
  const bpf = ['-target', 'bpf', '-g', '-O2', '-Wall', '-Werror', ...reproducible];
  for (const name of ['maps', 'struct_ops']) {
    await run('clang-14', [...bpf, '-c', `${name}.bpf.c`, '-o', join(work, `${name}.bpf.o`)], {
      cwd: corpus,
    });
  }
  await run('gcc', ['-O1', '-fPIC', '-c', 'library.c', '-o', join(work, 'library.o')], { cwd: corpus });
  const link = [
    '-shared',
    '-nostdlib',
    '-Wl,--build-id=none',
    '-Wl,--hash-style=both',
    '-Wl,--version-script=library.map',
  ];
  await run('gcc', [...link, join(work, 'library.o'), '-o', join(work, 'library.so')], { cwd: corpus });
}

const mutated = ['maps.bpf.o', 'struct_ops.bpf.o', 'library.so', 'library.o'];

function findLibbpf() {
  for (const path of [join(root, '.cache/libbpf'), process.env.LIBBPF_SRC]) {
    if (path && existsSync(join(path, 'src/libbpf.c'))) return path;
  }
  throw new Error(
    "libbpf's sources are not here: run scripts/libbpf source, or name a source tree in LIBBPF_SRC",
  );
}

function libbpfFlags(libbpf: string) {
  const include = ['src', 'include', 'include/uapi'].map((folder) => `-I${join(libbpf, folder)}`);
  // -fwrapv: libbpf computes addresses of USDT probes and sizes in signed integers (usdt.c, libbpf.c).
  return [
    '-std=gnu11',
    ...sanitizers,
    '-fwrapv',
    '-D_GNU_SOURCE',
    `-I${elf}`,
    '-include',
    join(elf, 'zlib.h'),
    ...include,
  ];
}

// Suppressions by file. btf.c reads .BTF.ext at hdr_len, which may be odd (btf_ext_parse_sec_info(), 1.5): misaligned
// reads within its own copy of the section, harmless on x86-64 and arm64.
const suppressed: Record<string, string[]> = { 'btf.c': ['-fno-sanitize=alignment'] };

// Half a minute of compiling, kept in .cache under a hash of all that goes in. linker.c writes ELF files and usdt.c is
// part of the driver.
async function compileLibbpf(libbpf: string) {
  const flags = libbpfFlags(libbpf);
  const sources = readdirSync(join(libbpf, 'src')).filter(
    (file) => file.endsWith('.c') && file !== 'linker.c' && file !== 'usdt.c',
  );
  const hash = createHash('sha256').update(JSON.stringify([flags, suppressed, sources]));
  hash.update(execFileSync('gcc', ['-dumpfullversion']));
  for (const file of readdirSync(join(libbpf, 'src')).sort()) {
    if (/\.[ch]$/.test(file)) hash.update(readFileSync(join(libbpf, 'src', file)));
  }
  for (const file of ['libelf.h', 'gelf.h', 'zlib.h']) hash.update(readFileSync(join(elf, file)));
  const cache = join(root, '.cache/elf-test');
  const objects = join(cache, hash.digest('hex').slice(0, 16));
  if (!existsSync(objects)) {
    mkdirSync(cache, { recursive: true });
    const unfinished = mkdtempSync(join(cache, 'unfinished-'));
    const queue = [...sources];
    const compileQueue = async () => {
      for (let file = queue.shift(); file; file = queue.shift()) {
        const output = join(unfinished, `${file}.o`);
        await run('gcc', [
          ...flags,
          ...(suppressed[file] ?? []),
          '-c',
          join(libbpf, 'src', file),
          '-o',
          output,
        ]);
      }
    };
    await Promise.all([compileQueue(), compileQueue()]);
    if (existsSync(objects)) rmSync(unfinished, { recursive: true });
    else renameSync(unfinished, objects);
  }
  return readdirSync(objects).map((file) => join(objects, file));
}

let own = '';
let elfutils = '';

beforeAll(async () => {
  await compileCorpus();
  own = await compile('dump-own', [...warnings, '-O2', `-I${elf}`, join(here, 'dump.c'), ...readers]);
  if (!existsSync('/usr/include/gelf.h')) {
    throw new Error(
      "elfutils' libelf is not on this machine: native/elf is held against it (Debian: apt-get install libelf-dev)",
    );
  }
  elfutils = await compile('dump-elfutils', [...warnings, '-O2', join(here, 'dump.c'), '-lelf']);
}, 2 * minutes);

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

const dump = (driver: string, seedOf: string, count: number, files: string[]) =>
  run(driver, [seedOf, String(count), ...files], { cwd: work });

function* casesOf(text: string) {
  for (const block of text.split(/^= /m).slice(1)) {
    const [name = '', ...lines] = block.trimEnd().split('\n');
    yield {
      name,
      items: new Map(
        lines.map((line): [string, string] => [
          line.slice(0, line.indexOf(' ')),
          line.slice(line.indexOf(' ') + 1),
        ]),
      ),
    };
  }
}

const refused = (value: string | undefined) => value === undefined || value.startsWith('!');

function refusedAbove(items: Map<string, string>, key: string) {
  if (refused(items.get('file'))) return true;
  const parts = key.split('.');
  return parts.some((_, end) => end > 0 && items.get(parts.slice(0, end).join('.'))?.startsWith('!'));
}

// What both readers give is equal, and what elfutils refuses is refused here: these lists must stay empty. The one
// exception is in walk.h: elfutils hands out bytes for SHT_NULL sections. What only elfutils gives is counted by rule.
function compare(ownText: string, elfutilsText: string) {
  const result = { cases: 0, acceptedByBoth: 0, different: [] as string[], looser: [] as string[] };
  const stricter: Record<string, number> = {};
  const others = casesOf(elfutilsText);
  for (const { name, items } of casesOf(ownText)) {
    const other = others.next().value;
    if (other?.name !== name) throw new Error(`elfutils' driver gave no answer for ${name}`);
    result.cases++;
    if (!refused(items.get('file')) && !refused(other.items.get('file'))) result.acceptedByBoth++;
    for (const [key, value] of items) {
      const theirs = other.items.get(key);
      if (!refused(value)) {
        if (refused(theirs)) result.looser.push(`${name}: ${key} ${value}`);
        else if (value !== theirs) result.different.push(`${name}: ${key} ${value}, elfutils ${theirs}`);
      } else if (!refused(theirs)) {
        stricter[value.slice(1)] = (stricter[value.slice(1)] ?? 0) + 1;
      }
    }
    for (const key of other.items.keys()) {
      if (!items.has(key) && !refusedAbove(items, key))
        result.different.push(`${name}: only elfutils gives ${key}`);
    }
  }
  return { ...result, stricter };
}

describe('against elfutils', () => {
  test('every whole file gives the same answers', { timeout: minutes }, async () => {
    const shipped = join(root, 'dist/bpf');
    const libc = (await run('gcc', ['-print-file-name=libc.so.6'])).trim();
    const files = [
      ...mutated,
      ...(existsSync(shipped) ? readdirSync(shipped) : [])
        .filter((file) => file.endsWith('.bpf.o'))
        .map((file) => join(shipped, file)),
      own,
      libc,
      process.execPath,
    ];
    const result = compare(await dump(own, '0', 0, files), await dump(elfutils, '0', 0, files));
    expect(result).toEqual({
      cases: files.length,
      acceptedByBoth: files.length,
      different: [],
      looser: [],
      stricter: {},
    });
  });

  test.each(mutated)(
    'variants of %s give the same answers or are refused',
    { timeout: minutes },
    async (file) => {
      const count = 2500;
      const [ours, theirs] = await Promise.all([
        dump(own, seed, count, [file]),
        dump(elfutils, seed, count, [file]),
      ]);
      const { cases, acceptedByBoth, different, looser, stricter } = compare(ours, theirs);
      console.log(
        `${file}, seed ${seed}: ${cases} variants, ${acceptedByBoth} opened by both; only elfutils accepts:`,
        stricter,
      );
      expect(different.slice(0, 5)).toEqual([]);
      expect(looser.slice(0, 5)).toEqual([]);
      expect(cases).toBeGreaterThan(count);
      expect(acceptedByBoth).toBeGreaterThan(count / 3);
    },
  );
});

describe('rules', () => {
  const header = {
    type: 16,
    phoff: 32,
    shoff: 40,
    phentsize: 54,
    phnum: 56,
    shentsize: 58,
    shnum: 60,
    shstrndx: 62,
  };

  const numberOfSections = (bytes: Buffer) => bytes.readUInt16LE(header.shnum);
  const sectionAt = (bytes: Buffer, index: number) =>
    Number(bytes.readBigUInt64LE(header.shoff)) + index * 64;

  function sectionOfType(bytes: Buffer, type: number) {
    for (let index = 1; index < numberOfSections(bytes); index++) {
      const at = sectionAt(bytes, index);
      if (bytes.readUInt32LE(at + 4) === type)
        return { index, at, contents: Number(bytes.readBigUInt64LE(at + 24)) };
    }
    throw new Error(`no section of type ${type}`);
  }

  function sectionOfName(bytes: Buffer, name: string) {
    const names = Number(bytes.readBigUInt64LE(sectionAt(bytes, bytes.readUInt16LE(header.shstrndx)) + 24));
    for (let index = 1; index < numberOfSections(bytes); index++) {
      const at = sectionAt(bytes, index);
      const from = names + bytes.readUInt32LE(at);
      if (bytes.toString('latin1', from, bytes.indexOf(0, from)) === name) return { index, at };
    }
    throw new Error(`no section ${name}`);
  }

  async function answers(base: string, change: (bytes: Buffer) => Buffer | undefined) {
    const bytes = readFileSync(join(work, base));
    const path = join(work, 'changed');
    writeFileSync(path, change(bytes) ?? bytes);
    const [first] = casesOf(await dump(own, '0', 0, [path]));
    return first?.items ?? new Map<string, string>();
  }

  const wholeFile: [string, (bytes: Buffer) => Buffer | undefined][] = [
    ['elf-empty', () => Buffer.alloc(0)],
    ['elf-magic', () => Buffer.from('\x7fEL', 'latin1')],
    ['elf-magic', (bytes) => bytes.fill('M', 0, 1)],
    ['elf-truncated', (bytes) => bytes.subarray(0, 15)],
    ['elf-truncated', (bytes) => bytes.subarray(0, 63)],
    ['elf-class', (bytes) => bytes.fill(1, 4, 5)],
    ['elf-byte-order', (bytes) => bytes.fill(2, 5, 6)],
    ['elf-version', (bytes) => bytes.fill(0, 6, 7)],
    ['elf-section-table', (bytes) => bytes.subarray(0, -1).fill(0xff, header.shoff, header.shoff + 8)],
    ['elf-section-table', (bytes) => void bytes.writeUInt16LE(63, header.shentsize)],
    ['elf-section-table', (bytes) => void bytes.writeUInt16LE(0xfeff, header.shnum)],
    ['elf-section-table', (bytes) => void bytes.writeBigUInt64LE(0n, header.shoff)],
    // e_shnum 0 and a count in section header 0 that overflows when multiplied by 64.
    [
      'elf-section-table',
      (bytes) => {
        bytes.writeUInt16LE(0, header.shnum);
        bytes.writeBigUInt64LE(2n ** 58n + 1n, sectionAt(bytes, 0) + 32);
      },
    ],
    [
      'elf-section-bounds',
      (bytes) => void bytes.writeBigUInt64LE(BigInt(bytes.length), sectionAt(bytes, 1) + 24),
    ],
    ['elf-section-bounds', (bytes) => void bytes.writeBigUInt64LE(2n ** 64n - 1n, sectionAt(bytes, 1) + 32)],
    [
      'elf-section-overlap',
      (bytes) => {
        const { at } = sectionOfName(bytes, '.BTF');
        bytes.writeBigUInt64LE(0n, at + 24);
        bytes.writeBigUInt64LE(BigInt(bytes.length), at + 32);
      },
    ],
    ['elf-program-headers', (bytes) => void bytes.writeBigUInt64LE(2n ** 64n - 8n, header.phoff)],
    [
      'elf-program-headers',
      (bytes) => {
        bytes.writeBigUInt64LE(64n, header.phoff);
        bytes.writeUInt16LE(2, header.phnum);
      },
    ],
  ];

  test.each(wholeFile)('%s refuses the file', async (rule, change) => {
    expect((await answers('maps.bpf.o', change)).get('file')).toBe(`!${rule}`);
  });

  const symbols = 2;
  const relocations = 9;
  const zeroed = 8;
  const definitions = 0x6ffffffd;
  type Found = { index: number; at: number };
  const oneSection: [string, string, (bytes: Buffer) => Found][] = [
    [
      'elf-section-alignment',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, relocations);
        bytes.writeBigUInt64LE(BigInt(found.contents + 1), found.at + 24);
        return found;
      },
    ],
    // libbpf divides by it.
    [
      'elf-entry-size',
      'library.so',
      (bytes) => {
        const found = sectionOfType(bytes, 11);
        bytes.writeBigUInt64LE(0n, found.at + 56);
        return found;
      },
    ],
    [
      'elf-entry-size',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, symbols);
        bytes.writeBigUInt64LE(25n, found.at + 32);
        return found;
      },
    ],
    [
      'elf-no-bytes',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfName(bytes, '.BTF');
        bytes.writeUInt32LE(zeroed, found.at + 4);
        return found;
      },
    ],
    [
      'elf-nobits-size',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, zeroed);
        bytes.writeBigUInt64LE(2n ** 32n + 8n, found.at + 32);
        return found;
      },
    ],
    // A program that starts 8 bytes before its section (CVE-2025-29481).
    [
      'elf-symbol-bounds',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, symbols);
        bytes.writeBigUInt64LE(2n ** 64n - 8n, found.contents + 18 * 24 + 8);
        return found;
      },
    ],
    // libbpf takes it for a struct_ops variable's offset, and adds the size in 32 bits.
    [
      'elf-symbol-bounds',
      'struct_ops.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, symbols);
        bytes.writeBigUInt64LE(2n ** 32n - 1n, found.contents + 17 * 24 + 8);
        return found;
      },
    ],
    [
      'elf-symbol-bounds',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, symbols);
        bytes.writeUInt16LE(numberOfSections(bytes), found.contents + 18 * 24 + 6);
        return found;
      },
    ],
    [
      'elf-version-chain',
      'library.so',
      (bytes) => {
        const found = sectionOfType(bytes, definitions);
        bytes.writeUInt32LE(4, found.contents + 16);
        return found;
      },
    ],
    [
      'elf-relocation-bounds',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, relocations);
        bytes.writeBigUInt64LE(2n ** 35n, found.contents);
        return found;
      },
    ],
    // The second definition's successor is the first: 32-bit arithmetic, as libbpf's.
    [
      'elf-version-chain',
      'library.so',
      (bytes) => {
        const found = sectionOfType(bytes, definitions);
        bytes.writeUInt32LE(2 ** 32 - 28, found.contents + 28 + 16);
        return found;
      },
    ],
    [
      'elf-compressed',
      'maps.bpf.o',
      (bytes) => {
        const found = sectionOfType(bytes, symbols);
        bytes.writeBigUInt64LE(0x800n, found.at + 8);
        return found;
      },
    ],
  ];

  test.each(oneSection)('%s refuses a section of %s', async (rule, file, change) => {
    let index = 0;
    const items = await answers(file, (bytes) => {
      index = change(bytes).index;
      return undefined;
    });
    expect(items.get(`section.${index}`)).not.toMatch(/^!/);
    expect(items.get(`section.${index}.data`)).toBe(`!${rule}`);
  });

  test('a string table without an end gives only the strings before its last NUL', async () => {
    const items = await answers('maps.bpf.o', (bytes) => {
      const at = sectionAt(bytes, bytes.readUInt16LE(header.shstrndx));
      const contents = Number(bytes.readBigUInt64LE(at + 24));
      bytes.fill('A', contents, contents + Number(bytes.readBigUInt64LE(at + 32)));
      return undefined;
    });
    expect(items.get('section.1.name')).toBe('!elf-string-end');
  });

  test('each has its own number, name and sentence', { timeout: minutes }, async () => {
    const source = [join(here, 'rules.c'), ...readers];
    const driver = await compile('rules', [...warnings, ...sanitizers, `-I${elf}`, ...source]);
    const lines = (await run(driver, [work, 'maps.bpf.o'], { cwd: work, env: sanitizerEnvironment }))
      .trimEnd()
      .split('\n');
    const rules = lines.map((line) => /^(\d+) (elf(?:-[a-z]+)+) (.+)$/.exec(line)?.slice(1) ?? [line]);
    expect(rules.map(([number]) => Number(number))).toEqual(rules.map((_, index) => index));
    for (const column of [1, 2]) expect(new Set(rules.map((rule) => rule[column])).size).toBe(rules.length);
    // Numbers are part of the interface: a rule keeps its own.
    expect(rules.map(([, name]) => name)).toMatchInlineSnapshot(`
      [
        "elf-none",
        "elf-argument",
        "elf-empty",
        "elf-stat",
        "elf-read",
        "elf-memory",
        "elf-too-large",
        "elf-magic",
        "elf-truncated",
        "elf-class",
        "elf-byte-order",
        "elf-version",
        "elf-section-table",
        "elf-section-bounds",
        "elf-program-headers",
        "elf-section-alignment",
        "elf-entry-size",
        "elf-no-bytes",
        "elf-nobits-size",
        "elf-symbol-bounds",
        "elf-version-chain",
        "elf-no-section",
        "elf-no-program-header",
        "elf-string-offset",
        "elf-string-end",
        "elf-entry-type",
        "elf-entry-bounds",
        "elf-compressed",
        "elf-relocation-bounds",
        "elf-section-overlap",
      ]
    `);
  });
});

test.each(['gcc', 'clang-14'])(
  'compiles without warnings under %s',
  { timeout: minutes },
  async (compiler) => {
    const flags = [
      '-std=gnu11',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-O2',
      '-fPIC',
      `-I${elf}`,
      '-include',
      join(elf, 'zlib.h'),
      '-c',
    ];
    for (const source of [...readers, join(elf, 'gz.c')])
      await run(compiler, [...flags, source, '-o', join(work, 'object.o')]);
  },
);

describe('under sanitizers', () => {
  let fuzz = '';

  beforeAll(async () => {
    const libbpf = findLibbpf();
    const objects = await compileLibbpf(libbpf);
    // The reader itself without libbpf's -fwrapv.
    const reader = await Promise.all(
      readers.map(async (source) => {
        const object = join(work, `reader-${basename(source, '.c')}.o`);
        await run('gcc', [...warnings, ...sanitizers, `-I${elf}`, '-c', source, '-o', object]);
        return object;
      }),
    );
    fuzz = await compile('fuzz', [
      ...libbpfFlags(libbpf),
      join(here, 'fuzz.c'),
      join(elf, 'gz.c'),
      ...reader,
      ...objects,
    ]);
  }, 3 * minutes);

  const variants = 2500;

  test.each(['reader', 'libbpf'])('%s: no finding and no hang', { timeout: 2 * minutes }, async (mode) => {
    const output = await run(fuzz, [mode, seed, '0', String(variants), ...mutated], {
      cwd: work,
      env: sanitizerEnvironment,
    });
    console.log(`${mode}, seed ${seed}: ${output.trim()}`);
    expect(output).toContain(`${variants * mutated.length} variants`);
  });
});
