import type { Finding } from '../core/finding.ts';

// Every rule of validate(). docs/validation.md has the same table; a test compares the two.

export interface Rule {
  level: Finding['level'];
  /** The fault that breaks the rule. */
  what: string;
  remedy: string;
}

const COMPILE = 'compile it with clang -target bpf -g -O2 -c';
const DAMAGED = 'the file is damaged or was not made by clang: copy or compile it again';
const CUT_OFF = 'the file is cut off: copy or compile it again';
const ASSEMBLER = 'check inline assembly, or the tool that wrote the instruction: compilers do not write it';
const GPL = 'give the object a GPL-compatible licence, such as "GPL" or "Dual BSD/GPL"';

function error(what: string, remedy: string): Rule {
  return { level: 'error', what, remedy };
}

function warning(what: string, remedy: string): Rule {
  return { level: 'warning', what, remedy };
}

export const RULES = {
  'file-missing': error('no file has this name', 'check the path; compile the object first'),
  'file-unreadable': error(
    'the file cannot be read',
    'check its permissions and those of the folders above it',
  ),
  'file-outside': error(
    'outside the programs directory',
    'name a file in it, or set programsDir of the loader to another folder',
  ),
  'file-type': error('not a regular file', 'name an object file that clang -target bpf made'),
  'file-size': error(
    'larger than limits.fileBytes (32 MiB)',
    'check that it is an object file: those have kilobytes',
  ),

  'elf-empty': error('the file is empty', COMPILE),
  'elf-magic': error('not an ELF file', COMPILE),
  'elf-truncated': error('shorter than an ELF header', CUT_OFF),
  'elf-class': error('not 64-bit', COMPILE),
  'elf-byte-order': error(
    'in the other byte order',
    'compile it for this machine: clang -target bpfel or bpfeb',
  ),
  'elf-version': error('an unknown version of ELF', DAMAGED),
  'elf-machine': error('compiled for a processor, not for BPF', COMPILE),
  'elf-type': error('linked', 'name the object file, not what a linker made of it'),
  'elf-section-table': error('the table of sections is missing or outside the file', DAMAGED),
  'elf-section-bounds': error('a section is outside the file', CUT_OFF),
  'elf-section-overlap': error('sections overlap', DAMAGED),
  'elf-program-headers': error('the program headers are outside the file', DAMAGED),
  'elf-too-large': error('larger than 1 GiB, or more than 2^20 sections', DAMAGED),
  'elf-memory': error('no memory to read it', 'give the process more memory'),
  'elf-section-alignment': error('symbols or relocations are not aligned', DAMAGED),
  'elf-entry-size': error('the size of a table is not a multiple of its entry size', DAMAGED),
  'elf-no-bytes': error('a section that needs contents has none', DAMAGED),
  'elf-nobits-size': error('.bss is 4 GiB or larger', DAMAGED),
  'elf-symbol-bounds': error('a symbol is outside its section', DAMAGED),
  'elf-relocation-bounds': error('a relocation is outside its section', DAMAGED),
  'elf-version-chain': error('the chain of version definitions does not end', DAMAGED),
  'elf-compressed': error('a section is compressed', 'compile without -gz'),

  'object-open': error('libbpf refuses the file for a reason that no other rule covers', COMPILE),
  'object-empty': error(
    'no program and no map',
    'give each program a SEC() and each map a SEC(".maps") definition',
  ),
  'section-unknown': error(
    'the section name implies no program type',
    'use a section name that libbpf knows, such as xdp, tc or tracepoint/…',
  ),
  'function-overlap': error(
    'functions or their names overlap many times over, or there are over 8,192',
    DAMAGED,
  ),

  'license-missing': warning(
    'no licence: the kernel treats it as not GPL-compatible',
    'char LICENSE[] SEC("license") = "GPL";',
  ),
  'license-helper': error('a GPL-only helper is called under another licence', GPL),
  'license-kfunc': error('a kernel function (kfunc) is called under a licence other than the GPL', GPL),
  'license-type': error('a program type that needs a GPL-compatible licence (lsm, struct_ops)', GPL),

  'btf-missing': warning('no BTF: no CO-RE, no member names', 'compile with -g'),
  'btf-invalid': warning('libbpf cannot read the BTF and ignores it', 'compile it again with -g'),
  'btf-ext-invalid': warning(
    'libbpf cannot read .BTF.ext: no CO-RE, no source lines',
    'compile it again with -g',
  ),
  'btf-ext-layout': error(
    '.BTF.ext is in the other byte order, its header ends inside a word, or a section’s name in it has over 512 bytes',
    DAMAGED,
  ),
  'btf-endless': error(
    'a type contains itself, or is nested more than 1,000 levels deep',
    'compile it again with -g',
  ),
  'btf-kernel': error(
    'the file of kernel BTF cannot be read',
    'name a file of BTF, such as /sys/kernel/btf/vmlinux',
  ),

  'program-name-duplicate': error('two programs have the same name', 'rename one of them'),
  'program-name-cut': warning(
    'the kernel, which keeps 15 characters of a name, would give two programs the same name',
    'make the first 15 characters of the names differ',
  ),
  'program-size': error(
    'more instructions than limits.instructions (1,000,000, the kernel’s limit)',
    'make the program smaller, or split it with tail calls',
  ),
  'program-functions': error(
    'more than 256 functions in one program',
    'call fewer functions, or let the compiler inline them',
  ),

  'code-size': error('the size of a function is not a multiple of 8 bytes, one instruction', DAMAGED),
  'insn-opcode': error(
    'an opcode that Linux 6.18 does not have',
    'compile with -O2 and -mcpu=v2 or v3; -O0 makes indirect calls',
  ),
  'insn-reserved': error('the instruction has a field set that it does not use', ASSEMBLER),
  'insn-register': error('a register above r10', ASSEMBLER),
  'insn-frame-pointer': error('r10 is written', ASSEMBLER),
  'insn-operand': error(
    'division by a constant 0, a shift past the width, or an unknown width or atomic operation',
    'look at constant divisors and shifts in the source',
  ),
  'insn-ld-imm64': error('a 64-bit load without its second half, or of an unknown kind', ASSEMBLER),
  'insn-jump-range': error('a jump out of the function', ASSEMBLER),
  'insn-jump-middle': error('a jump into the middle of a 64-bit load', ASSEMBLER),
  'insn-end': error(
    'the last instruction neither exits nor jumps',
    'return from every path of the function; look for undefined behaviour that the compiler removed',
  ),
  'insn-call-target': error(
    'a call of something that is not a function in .text',
    'make functions that programs call static, and give them no SEC()',
  ),
  'insn-helper': error('a helper with a number below 1', 'declare helpers with bpf_helpers.h'),
  'insn-more': error('more faulty instructions than are listed', 'fix the listed ones first'),
  'helper-unknown': warning(
    'the built-in libbpf does not know the helper',
    'check its number; a newer kernel may have it',
  ),

  'core-invalid': error('libbpf cannot resolve a CO-RE relocation', 'compile it again with -g'),
  'core-ambiguous': error(
    'the kernel’s types contradict each other in a CO-RE relocation',
    'name the type with a flavour (struct name___flavour) that has only the fields in use',
  ),
  'core-type-missing': error(
    'the kernel lacks a type, and no bpf_core_type_exists() guards its use',
    'guard it with bpf_core_type_exists(), or use a kernel that has it',
  ),
  'core-field-missing': error(
    'the kernel lacks a field or enumerator, and no bpf_core_field_exists() or …_enum_value_exists() guards its use',
    'guard it with bpf_core_field_exists(), or use a kernel that has it',
  ),
  'core-load-time': warning(
    'the kernel lacks a type or field whose use depends on a value known only at load (.kconfig, a weak symbol)',
    'try it with dryRun on that kernel',
  ),
  'core-unresolved': warning(
    'CO-RE relocations that would take over a second to resolve',
    'check that a compiler made the object, or try it with dryRun',
  ),

  'map-type-unknown': warning(
    'the built-in libbpf does not know the map type',
    'check its number; a newer kernel may have it',
  ),
  'map-key-size': error('a key size that the map type does not take', 'see the message for the size'),
  'map-value-size': error('a value size that the map type does not take', 'see the message for the size'),
  'map-entries': error(
    'a number of entries that the map type does not take',
    'set max_entries as the message says',
  ),
  'map-flags': error('the map type needs a flag that is missing', 'add the flag to __uint(map_flags, …)'),
  'map-inner': warning(
    'a map of maps without an inner map’s definition',
    'add __array(values, struct { … }), or set it before the load',
  ),
  'map-ring-rounded': warning(
    'the size of the ring is not a power of two of pages: libbpf makes it larger',
    'set max_entries to a power of two that is a multiple of the page size',
  ),
  'map-limit-entries': error(
    'more entries than limits.maxEntries',
    'set max_entries lower, or raise the limit',
  ),
  'map-limit-bytes': error('more memory than limits.mapBytes', 'make the map smaller, or raise the limit'),
  'map-name-duplicate': error('two maps have the same name', 'rename one of them'),
  'map-name-cut': warning(
    'the kernel, which keeps 15 characters of a name, would give two maps the same name',
    'make the first 15 characters of the names differ',
  ),

  'verifier-refused': error('dryRun: the verifier refuses the program', 'read its log in verifier[].log'),
  'dry-run-failed': error(
    'dryRun: the kernel or libbpf refuses the load for another reason',
    'see the message',
  ),
  'dry-run-permission': error(
    'dryRun: the process may not load programs',
    'run as root, or give the process the capabilities that the message names',
  ),
  'dry-run-remaining': warning(
    'dryRun: a program or map was still in the kernel two seconds after it was closed',
    'find the holder with bpftool prog and bpftool map',
  ),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;

/** Makes a finding of `rule` at `place`. `remedy` replaces the rule's own remedy if a better one is known. */
export function finding(rule: RuleId, place: string, message: string, remedy?: string): Finding {
  const { level, remedy: usual } = RULES[rule];
  return { rule, level, place, message, remedy: remedy ?? usual };
}

export function isRule(rule: string): rule is RuleId {
  return Object.hasOwn(RULES, rule);
}
