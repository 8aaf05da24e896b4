import { execFileSync } from 'node:child_process';
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
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadObjectSync } from '../../lib/object/object.ts';
import { inspect } from '../../lib/object-file/inspect.ts';
import { RULES, type RuleId } from '../../lib/object-file/rules.ts';
import { type ValidateOptions, validate } from '../../lib/object-file/validate.ts';
import { caught } from '../helpers/caught.ts';
import {
  assemble,
  compile,
  EXIT,
  instruction,
  patched,
  renamed,
  section,
  sections,
  symbol,
} from '../helpers/elf.ts';
import { shippedObject, testObject } from '../helpers/objects.ts';

// Each rule: one object that breaks it, and no other rule. No privilege is needed here.

const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-validate-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const shipped = () => readFileSync(shippedObject('xdp_counter'));
const XDP = 'SEC("xdp") int f(void *c) { return 2; }\n';
const map = (definition: string, name = 'm') => `struct { ${definition} } ${name} SEC(".maps");\n`;
const ofType = (type: string, rest: string) => map(`__uint(type, BPF_MAP_TYPE_${type}); ${rest}`);
const withMap = (type: string, rest: string) => compile(XDP + ofType(type, rest));

const shdr = (object: Buffer, name: string, field: number, value: bigint) =>
  patched(object, (copy) => copy.writeBigUInt64LE(value, section(copy, name).header + field));
const SH_FLAGS = 0x08;
const SH_OFFSET = 0x18;
const SH_SIZE = 0x20;
const SH_ENTSIZE = 0x38;

// The kernel's types, for these tests: an object's BTF is BTF.
const kernelTypes = (source: string) => {
  const path = join(folder, `kernel-${Buffer.from(source).toString('base64url').slice(0, 40)}.o`);
  writeFileSync(path, compile(source));
  return path;
};
const KERNEL = 'struct thing { int first; long second; } thing; enum colour { RED = 1 } colour;';
const LOCAL = `#define CORE __attribute__((preserve_access_index))
struct thing { int first; long second; long third; } CORE;
struct absent { int field; } CORE;
enum colour { RED = 1, GREEN = 2 };
`;
const reads = (body: string) => `${LOCAL}SEC("xdp") int f(void *c) { struct thing *t = c; ${body} }`;

const manyFunctions = (count: number) => {
  const functions = Array.from({ length: count }, (_, i) => {
    const next = i === 0 ? 'return x;' : `return g${i - 1}(x + ${i});`;
    return `static __attribute__((noinline)) int g${i}(int x) { asm volatile(""); ${next} }\n`;
  });
  return `${functions.join('')}SEC("xdp") int f(void *c) { return g${count - 1}((long)c); }`;
};

const aliases = (count: number) => {
  const names = Array.from({ length: count }, (_, i) => `.globl a${i}\\n.set a${i}, f\\n`).join('');
  return `SEC("xdp") int f(void *c) { asm volatile(".rept 4000\\nr0 = 0\\n.endr"); return 0; } asm("${names}");`;
};

interface Case {
  object: () => Uint8Array | string;
  options?: () => ValidateOptions;
  /** Other rules that cannot but be broken with it. */
  also?: RuleId[];
}

const cases: Partial<Record<RuleId, Case | (() => Uint8Array | string)>> = {
  'file-missing': () => join(folder, 'absent.o'),
  'file-unreadable': () => join(file('no-folder', new Uint8Array(1)), 'x.o'),
  'file-type': () => folder,
  'file-size': { object: shipped, options: () => ({ limits: { fileBytes: 100 } }) },

  'elf-empty': () => new Uint8Array(),
  'elf-magic': () => Buffer.alloc(4096, 'garbage'),
  'elf-truncated': () => shipped().subarray(0, 40),
  'elf-class': () => patched(shipped(), (copy) => copy.writeUInt8(1, 4)),
  'elf-byte-order': () => patched(shipped(), (copy) => copy.writeUInt8(2, 5)),
  'elf-version': () => patched(shipped(), (copy) => copy.writeUInt8(9, 6)),
  'elf-machine': () => patched(shipped(), (copy) => copy.writeUInt16LE(62, 18)),
  'elf-type': () => patched(shipped(), (copy) => copy.writeUInt16LE(2, 16)),
  'elf-section-table': () => shipped().subarray(0, shipped().length >> 1),
  'elf-section-bounds': () => shdr(shipped(), 'xdp', SH_OFFSET, 1n << 40n),
  'elf-section-overlap': () =>
    patched(shipped(), (copy) => {
      for (const { header } of sections(copy).slice(1)) {
        copy.writeBigUInt64LE(0n, header + SH_OFFSET);
        copy.writeBigUInt64LE(BigInt(copy.length), header + SH_SIZE);
      }
    }),
  'elf-program-headers': () =>
    patched(shipped(), (copy) => {
      copy.writeBigUInt64LE(1n << 40n, 0x20);
      copy.writeUInt16LE(56, 0x36);
      copy.writeUInt16LE(3, 0x38);
    }),
  'elf-section-alignment': () =>
    patched(shipped(), (copy) => {
      const { header, offset, size } = section(copy, '.symtab');
      copy.writeBigUInt64LE(BigInt(offset + 1), header + SH_OFFSET);
      copy.writeBigUInt64LE(BigInt(size - 24), header + SH_SIZE);
    }),
  'elf-entry-size': () => shdr(shipped(), '.symtab', SH_ENTSIZE, 1n),
  'elf-no-bytes': () => patched(shipped(), (copy) => copy.writeUInt32LE(8, section(copy, '.BTF').header + 4)),
  'elf-nobits-size': () => shdr(compile(`${XDP}int zero;`), '.bss', SH_SIZE, 1n << 33n),
  'elf-symbol-bounds': () =>
    patched(shipped(), (copy) => copy.writeBigUInt64LE(1n << 62n, symbol(copy, 'xdp_counter') + 8)),
  'elf-relocation-bounds': () =>
    patched(shipped(), (copy) => copy.writeBigUInt64LE(1n << 32n, section(copy, '.relxdp').offset)),
  'elf-version-chain': () =>
    patched(shipped(), (copy) => copy.writeUInt32LE(0x6ffffffd, section(copy, 'license').header + 4)),
  'elf-compressed': () => shdr(shipped(), '.BTF', SH_FLAGS, 1n << 11n),

  'object-open': () =>
    patched(shipped(), (copy) => copy.writeUInt8(0xff, section(copy, '.relxdp').offset + 12)),
  'object-empty': () => compile('struct unused;'),
  'section-unknown': () => compile('SEC("my_own") int f(void *c) { return 0; }'),
  'function-overlap': () => compile(aliases(200)),

  'license-missing': () => compile(XDP, { license: '' }),
  'license-helper': () =>
    compile('SEC("xdp") int f(void *c) { return bpf_get_current_task(); }', {
      license: 'char LICENSE[] SEC("license") = "Proprietary";',
    }),
  'license-kfunc': () =>
    compile(
      'extern void bpf_rcu_read_lock(void) __ksym; SEC("tc") int f(void *c) { bpf_rcu_read_lock(); return 0; }',
      {
        license: 'char LICENSE[] SEC("license") = "MIT";',
      },
    ),
  'license-type': () =>
    compile('SEC("lsm/file_open") int f(void *c) { return 0; }', {
      license: 'char LICENSE[] SEC("license") = "BSD";',
    }),

  'btf-missing': () => compile(XDP, { flags: [] }),
  'btf-invalid': () => patched(compile(XDP), (copy) => copy.writeUInt16LE(0, section(copy, '.BTF').offset)),
  'btf-ext-invalid': () =>
    patched(compile(XDP), (copy) => copy.writeUInt16LE(0, section(copy, '.BTF.ext').offset)),
  'btf-ext-layout': () =>
    patched(compile(XDP), (copy) => copy.writeUInt32LE(30, section(copy, '.BTF.ext').offset + 4)),
  'btf-endless': () =>
    patched(compile(`${XDP}typedef int inner_t; typedef inner_t outer_t; outer_t used;`), (copy) => {
      // BTF_KIND_TYPEDEF is a name, kind and type: each of the two names the other.
      const { offset, size } = section(copy, '.BTF');
      const typedefs = [];
      for (let at = offset + 24; at < offset + size - 8; at += 4)
        if (copy.readUInt32LE(at + 4) === 8 << 24) typedefs.push(at);
      const [outer, inner] = typedefs as [number, number];
      copy.writeUInt32LE(copy.readUInt32LE(outer + 8) - 1, inner + 8);
    }),
  'btf-kernel': {
    object: () => compile(reads('return t->second;')),
    options: () => ({ btf: file('no.btf', Buffer.alloc(100)) }),
  },

  'program-name-duplicate': () =>
    renamed(
      compile(
        'SEC("xdp") int name_one(void *c) { return 1; } SEC("xdp") int name_two(void *c) { return 2; }',
      ),
      'name_two',
      'name_one',
    ),
  'program-name-cut': () =>
    compile(
      'SEC("xdp") int a_rather_long_name_one(void *c) { return 1; } SEC("xdp") int a_rather_long_name_two(void *c) { return 2; }',
    ),
  'program-size': { object: shipped, options: () => ({ limits: { instructions: 10 } }) },
  'program-functions': () => compile(manyFunctions(300)),

  'code-size': () => patched(compile(XDP), (copy) => copy.writeBigUInt64LE(12n, symbol(copy, 'f') + 16)),
  'insn-opcode': () => assemble(instruction(0x8d)),
  'insn-reserved': () => assemble(instruction(0xb7, 0, 1)),
  'insn-register': () => assemble(instruction(0xb7, 12)),
  'insn-frame-pointer': () => assemble(instruction(0xbf, 10, 1)),
  'insn-operand': () => assemble(instruction(0x37, 0, 0, 0, 0)),
  'insn-ld-imm64': () => assemble(instruction(0x18, 1), instruction(0xb7)),
  'insn-jump-range': () => assemble(instruction(0x15, 0, 0, 100)),
  'insn-jump-middle': () => assemble(instruction(0x15, 0, 0, 1), instruction(0x18, 1), instruction(0)),
  'insn-end': () => assemble(...Array.from({ length: 16 }, () => instruction(0xb7))),
  'insn-call-target': () => assemble(instruction(0x85, 0, 1, 0, 3)),
  'insn-helper': () => assemble(instruction(0x85, 0, 0, 0, -1)),
  'insn-more': {
    object: () => assemble(...Array.from({ length: 12 }, () => instruction(0x8d))),
    also: ['insn-opcode'],
  },
  'helper-unknown': () => assemble(instruction(0x85, 0, 0, 0, 5000)),

  'core-invalid': () => renamed(compile(reads('return t->second;')), '0:1\0', '0:x\0'),
  'core-ambiguous': {
    object: () => compile(reads('return t->second;')),
    options: () => ({
      btf: kernelTypes(
        'struct thing___a { long second; } a; struct thing___b { int first; long second; } b;',
      ),
    }),
  },
  'core-type-missing': {
    object: () => compile(`${LOCAL}SEC("xdp") int f(void *c) { return ((struct absent *)c)->field; }`),
    options: () => ({ btf: kernelTypes(KERNEL) }),
  },
  'core-field-missing': {
    object: () => compile(reads('return t->third;')),
    options: () => ({ btf: kernelTypes(KERNEL) }),
  },
  'core-load-time': {
    object: () =>
      compile(
        `extern int LINUX_KERNEL_VERSION __kconfig;\n${reads('if (LINUX_KERNEL_VERSION > 1) return t->third; return 0;')}`,
      ),
    options: () => ({ btf: kernelTypes(KERNEL) }),
  },

  'map-type-unknown': () => compile(XDP + map('__uint(type, 99); __uint(max_entries, 1);')),
  'map-key-size': () => withMap('ARRAY', '__uint(max_entries, 1); __type(key, __u64); __type(value, __u64);'),
  'map-value-size': () =>
    withMap('XSKMAP', '__uint(max_entries, 1); __type(key, __u32); __type(value, __u64);'),
  'map-entries': () => withMap('HASH', '__type(key, __u32); __type(value, __u64);'),
  'map-flags': () => withMap('LPM_TRIE', '__uint(max_entries, 1); __type(key, __u64); __type(value, __u64);'),
  'map-inner': () =>
    withMap('ARRAY_OF_MAPS', '__uint(max_entries, 1); __type(key, __u32); __type(value, __u32);'),
  'map-ring-rounded': () => withMap('RINGBUF', '__uint(max_entries, 5000);'),
  'map-limit-entries': { object: shipped, options: () => ({ limits: { maxEntries: 3 } }) },
  'map-limit-bytes': { object: shipped, options: () => ({ limits: { mapBytes: 63 } }) },
  'map-name-duplicate': () => {
    const array =
      '__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32);';
    return renamed(compile(XDP + map(array, 'map_one') + map(array, 'map_two')), 'map_two', 'map_one');
  },
  'map-name-cut': () => {
    const array =
      '__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32);';
    return compile(XDP + map(array, 'the_packets_by_port') + map(array, 'the_packets_by_peer'));
  },
};

/** Not to be had from a file alone: of the machine, or of the kernel (test/kernel/object-file/validate.test.ts). */
const ELSEWHERE: readonly RuleId[] = [
  'file-outside', // of a loader with a folder: test/kernel/semantics/lifecycle.test.ts
  'elf-memory',
  'elf-too-large',
  'core-unresolved', // of types with thousands of members in members
  'verifier-refused',
  'dry-run-failed',
  'dry-run-permission',
  'dry-run-remaining',
];

test.each(Object.entries(cases))('%s', async (rule, entry) => {
  const { object, options, also = [] }: Case = typeof entry === 'function' ? { object: entry } : entry;
  const { ok, findings } = await validate(object(), { btf: kernelTypes(KERNEL), ...options?.() });
  expect(new Set(findings.map((finding) => finding.rule))).toEqual(new Set([rule, ...also]));
  const { level } = RULES[rule as RuleId];
  expect(ok).toBe(level === 'warning' && also.every((other) => RULES[other].level === 'warning'));
  for (const finding of findings) {
    expect(finding.level).toBe(RULES[finding.rule as RuleId].level);
    expect(finding.remedy).toMatch(/./);
    expect(finding.message).toMatch(/./);
    expect(`${finding.message}${finding.place}`).not.toMatch(/undefined|NaN|\[object/);
  }
});

test('every rule has a case', () => {
  expect([...Object.keys(cases), ...ELSEWHERE].sort()).toEqual(Object.keys(RULES).sort());
});

test('docs/validation.md has every rule, as it is', () => {
  const text = readFileSync(resolve(import.meta.dirname, '../../docs/validation.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z0-9-]+)` \| (\w+) \| (.*) \| (.*) \|$/gm)].map(
    ([, rule, level, what, remedy]) => [rule, { level, what, remedy }],
  );
  const table = Object.entries(RULES).map(([rule, entry]) => [
    rule,
    { ...entry, remedy: entry.remedy.replaceAll('|', '\\|') },
  ]);
  expect(rows).toEqual(table);
});

test('every refusal of native/elf is a rule', () => {
  const header = readFileSync(resolve(import.meta.dirname, '../../native/elf/elf_rules.h'), 'utf8');
  const names = [...header.matchAll(/\/\* (elf-[a-z-]+)/g)].map(([, name]) => name ?? '');
  // Look-ups that fail, and those of a file descriptor: bytes are read from memory.
  const other =
    /^elf-(none|unknown|argument|stat|read|no-section|no-program-header|string-offset|string-end|entry-type|entry-bounds)$/;
  expect(names.filter((name) => !other.test(name) && !Object.hasOwn(RULES, name))).toEqual([]);
});

test.each([
  shippedObject('xdp_counter'),
  ...['odd_value', 'pass', 'refused', 'tracepoint', 'two_programs'].map(testObject),
])('%s breaks no rule', async (path) => {
  expect(await validate(path)).toMatchObject({ ok: true, findings: [] });
});

test('all that a file breaks is told, not only the first', async () => {
  const object = compile(
    `SEC("my_own") int f(void *c) { return bpf_get_current_task(); }
    ${map('__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 0); __uint(key_size, 3); __uint(value_size, 0);')}`,
    { license: 'char LICENSE[] SEC("license") = "MIT";', flags: ['-g'] },
  );
  const { findings } = await validate(object);
  expect(findings.map(({ rule }) => rule).sort()).toEqual([
    'license-helper',
    'map-entries',
    'map-key-size',
    'map-value-size',
    'section-unknown',
  ]);
  const narrow = patched(shipped(), (copy) => {
    copy.writeUInt8(1, 4);
    copy.writeUInt8(2, 5);
  });
  expect((await validate(narrow)).findings.map(({ rule }) => rule)).toEqual(['elf-class', 'elf-byte-order']);
  expect(caught(() => inspect(narrow))).toMatchObject({
    findings: [{ rule: 'elf-class' }, { rule: 'elf-byte-order' }],
  });
});

test('a finding has its place: section, program, instruction, source line', async () => {
  const object = compile(
    `SEC("xdp") int watch(void *c)
{
	return bpf_get_current_task();
}`,
    { license: 'char LICENSE[] SEC("license") = "MIT";' },
  );
  expect((await validate(object)).findings).toEqual([
    {
      rule: 'license-helper',
      level: 'error',
      place: expect.stringMatching(
        /^<bytes>, section xdp, program watch, instruction 0 \(.*made\.bpf\.c:7\)$/,
      ),
      message: 'calls bpf_get_current_task, which is GPL-only, under the licence "MIT"',
      remedy: 'give the object a GPL-compatible licence, such as "GPL" or "Dual BSD/GPL"',
    },
  ]);
});

// Every form that Linux 6.18 takes, newer compilers' too: nothing of it is a finding.
const GOOD: [string, Buffer[]][] = [
  ['movsx', [instruction(0xbf, 1, 0, 8), instruction(0xbf, 1, 0, 32), instruction(0xbc, 1, 0, 16)]],
  ['ldsx', [instruction(0x81, 1, 1), instruction(0x89, 1, 1), instruction(0x91, 1, 1)]],
  ['bswap', [instruction(0xd7, 1, 0, 0, 16), instruction(0xdc, 1, 0, 0, 64), instruction(0xd4, 1, 0, 0, 32)]],
  ['sdiv and smod', [instruction(0x37, 1, 0, 1, -3), instruction(0x9f, 1, 2, 1)]],
  ['gotol', [instruction(0x06, 0, 0, 0, 2)]],
  ['may_goto', [instruction(0xe5, 0, 0, 3)]],
  [
    'atomics',
    [instruction(0xdb, 10, 1, -8, 0), instruction(0xc3, 10, 1, -8, 0xe1), instruction(0xdb, 10, 1, -8, 0xf1)],
  ],
  ['load-acquire, store-release', [instruction(0xd3, 1, 2, 0, 0x100), instruction(0xc3, 1, 2, 0, 0x110)]],
  ['addr_space_cast', [instruction(0xbf, 1, 1, 1, 1)]],
  ['ld_abs and ld_ind', [instruction(0x30, 0, 0, 0, 14), instruction(0x48, 0, 7, 0, 2)]],
  ['neg', [instruction(0x87, 1), instruction(0x84, 1)]],
  ['jmp32', [instruction(0x16, 1, 0, 1, 5), instruction(0x5e, 1, 2, 1)]],
  ['a 64-bit load', [instruction(0x18, 1, 0, 0, -1), instruction(0, 0, 0, 0, 7)]],
  ['a jump back', [instruction(0xb7), instruction(0x55, 0, 0, -2)]],
  ['a kfunc by number', [instruction(0x85, 0, 2, 0, 7)]],
];
test.each(GOOD)('%s are known', async (_, instructions) => {
  const { findings } = await validate(assemble(...instructions));
  expect(findings).toEqual([]);
});

const BAD: [string, RuleId, Buffer[]][] = [
  ['a width for bswap', 'insn-operand', [instruction(0xd7, 1, 0, 0, 8)]],
  ['a shift of 32 in 32 bits', 'insn-operand', [instruction(0x64, 1, 0, 0, 32)]],
  ['a shift of 64', 'insn-operand', [instruction(0x67, 1, 0, 0, 64)]],
  ['an atomic operation', 'insn-operand', [instruction(0xdb, 10, 1, -8, 0x42)]],
  ['an atomic on a byte', 'insn-opcode', [instruction(0xd3, 10, 1, -8, 0)]],
  ['a fetch into r10', 'insn-frame-pointer', [instruction(0xdb, 1, 10, 0, 1)]],
  ['ldsx of 8 bytes', 'insn-opcode', [instruction(0x99, 1, 1)]],
  ['a load with an immediate', 'insn-reserved', [instruction(0x61, 1, 1, 0, 1)]],
  ['a store of a register with an immediate', 'insn-reserved', [instruction(0x63, 10, 1, -8, 1)]],
  ['exit with a register', 'insn-reserved', [instruction(0x95, 1), EXIT]],
  ['a goto with a register', 'insn-reserved', [instruction(0x05, 1)]],
  ['gotol past the end', 'insn-jump-range', [instruction(0x06, 0, 0, 0, 0x7fffffff)]],
  ['a jump before the start', 'insn-jump-range', [instruction(0x05, 0, 0, -2)]],
  ['a kind of 64-bit load', 'insn-ld-imm64', [instruction(0x18, 1, 7), instruction(0)]],
  [
    'a 64-bit load at the end',
    'insn-ld-imm64',
    [...Array.from({ length: 15 }, () => instruction(0xb7)), instruction(0x18, 1)],
  ],
  ['a call with an offset', 'insn-reserved', [instruction(0x85, 0, 0, 1, 1)]],
  ['jmp32 of call', 'insn-opcode', [instruction(0x86, 0, 0, 0, 1)]],
  ['a register source above r10', 'insn-register', [instruction(0x0f, 1, 11)]],
  ['an endianness in 64 bits by register', 'insn-opcode', [instruction(0xdf, 1, 0, 0, 16)]],
];
test.each(BAD)('%s breaks %s', async (_, rule, instructions) => {
  const rules = (await validate(assemble(...instructions))).findings.map((finding) => finding.rule);
  expect(rules).toContain(rule);
});

test('what libbpf would do harm with is not loaded', () => {
  const half = assemble(...Array.from({ length: 15 }, () => instruction(0xb7)), instruction(0x18, 1));
  const negative = renamed(compile(reads('return t->second;')), '0:1\0', '0:-\0');
  for (const [object, rule] of [
    [half, 'insn-ld-imm64'],
    [negative, 'core-invalid'],
    [compile(manyFunctions(300)), 'program-functions'],
  ] as const) {
    expect(caught(() => loadObjectSync(object))).toMatchObject({
      name: 'EbpfValidationError',
      findings: expect.arrayContaining([expect.objectContaining({ rule })]),
    });
  }
});

test('instructions count the functions that a program calls', () => {
  const one = inspect(compile(manyFunctions(1))).programs[0]?.instructions ?? 0;
  const many = inspect(compile(manyFunctions(20))).programs[0]?.instructions ?? 0;
  expect(many).toBeGreaterThan(one + 19 * 2);
  const { programs } = inspect(
    compile(`${XDP}static __attribute__((noinline)) int unused(int x) { return x; }`),
  );
  expect(programs).toMatchObject([{ name: 'f', instructions: 2 }]);
});

const GUARDED: [string, string][] = [
  ['a field', 'if (bpf_core_field_exists(t->third)) return t->third; return 0;'],
  ['a type', 'if (bpf_core_type_exists(struct absent)) return ((struct absent *)c)->field; return 0;'],
  [
    'an enumerator',
    'if (bpf_core_enum_value_exists(enum colour, GREEN)) return bpf_core_enum_value(enum colour, GREEN); return 0;',
  ],
  ['a constant of .rodata', 'if (wanted) return t->third; return 0;'],
  ['an early return', 'if (!bpf_core_field_exists(t->third)) return 1; return t->third;'],
];
test.each(GUARDED)('what the kernel lacks may be used behind a guard: %s', async (_, body) => {
  const source = `const volatile int wanted = 0;\n${reads(body)}`;
  expect((await validate(compile(source), { btf: kernelTypes(KERNEL) })).findings).toEqual([]);
});

test('a guard counts in functions that are called behind it, too', async () => {
  const helper = `${LOCAL}static __attribute__((noinline)) int third(struct thing *t) { return t->third; }\n`;
  const guarded = `${helper}SEC("xdp") int f(void *c) { if (bpf_core_field_exists(((struct thing *)c)->third)) return third(c); return 0; }`;
  const bare = `${helper}SEC("xdp") int f(void *c) { return third(c); }`;
  const options = { btf: kernelTypes(KERNEL) };
  expect((await validate(compile(guarded), options)).findings).toEqual([]);
  expect((await validate(compile(bare), options)).findings).toMatchObject([
    {
      rule: 'core-field-missing',
      place: expect.stringContaining('section .text, function third'),
      message: "the kernel's struct thing has no third",
    },
  ]);
});

test('what a relocation lacks is named', async () => {
  const options = { btf: kernelTypes(KERNEL) };
  const messages = async (source: string) =>
    (await validate(compile(source), options)).findings.map(({ message }) => message);
  expect(await messages(`${LOCAL}SEC("xdp") int f(void *c) { return ((struct absent *)c)->field; }`)).toEqual(
    ['the kernel has no struct absent (for its field)'],
  );
  expect(await messages(reads('return bpf_core_enum_value(enum colour, GREEN);'))).toEqual([
    "the kernel's enum colour has no GREEN",
  ]);
  // libbpf makes the size of an absent type 0.
  expect(await messages(reads('return bpf_core_type_size(struct absent);'))).toEqual([]);
});

test('a kernel’s BTF that is a FIFO, a folder or absent is a finding', async () => {
  const fifo = join(folder, 'fifo.btf');
  execFileSync('mkfifo', [fifo]);
  for (const btf of [fifo, folder, join(folder, 'absent.btf')]) {
    expect(await validate(compile(reads('return t->second;')), { btf })).toMatchObject({
      ok: false,
      findings: [{ rule: 'btf-kernel' }],
    });
  }
});

test('a sparse file of 1 GiB and bytes over the limit are refused unread', async () => {
  const path = join(folder, 'sparse.o');
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 2 ** 30);
  closeSync(fd);
  expect((await validate(path)).findings).toMatchObject([{ rule: 'file-size' }]);
  const limits = { fileBytes: 10 };
  expect((await validate(shipped(), { limits })).findings).toMatchObject([{ rule: 'file-size' }]);
});

test('the caller may change the bytes while validate works', async () => {
  const bytes = Uint8Array.from(shipped());
  const working = validate(bytes);
  bytes.fill(0);
  expect(await working).toMatchObject({ ok: true, findings: [] });
});
