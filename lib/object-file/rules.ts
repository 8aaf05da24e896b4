import type { Finding } from '../core/finding.ts';

// Every rule that validate() knows: docs/validation.md has the same table, and a test compares the two.

export interface Rule {
  level: Finding['level'];
  /** What breaks it. */
  what: string;
  remedy: string;
}

const COMPILE = 'compile it with clang -target bpf -g -O2 -c';
const DAMAGED = 'the file is damaged or was not made by clang: copy or compile it again';
const CUT_OFF = 'the file is cut off: copy or compile it again';
const ASSEMBLER = 'look at inline assembly or at the tool that wrote the instruction; compilers do not';
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
    'outside of the programs directory',
    'name a file in it, or set programsDir of the loader to another folder',
  ),
  'file-type': error('not a regular file', 'name an object file that clang -target bpf made'),
  'file-size': error('larger than limits.fileBytes (32 MiB)', 'object files are kilobytes: is it one?'),

  'elf-empty': error('the file is empty', COMPILE),
  'elf-magic': error('not an ELF file', COMPILE),
  'elf-truncated': error('shorter than an ELF header', CUT_OFF),
  'elf-class': error('not 64-bit', COMPILE),
  'elf-byte-order': error(
    'in the other byte order',
    'compile it for this machine: clang -target bpfel or bpfeb',
  ),
  'elf-version': error('of an unknown version of ELF', DAMAGED),
  'elf-machine': error('for a processor, not for BPF', COMPILE),
  'elf-type': error('linked', 'name the object file, not what a linker made of it'),
  'elf-section-table': error('the table of sections is missing or outside the file', DAMAGED),
  'elf-section-bounds': error('a section is outside the file', CUT_OFF),
  'elf-section-overlap': error('sections overlap', DAMAGED),
  'elf-program-headers': error('the program headers are outside the file', DAMAGED),
  'elf-too-large': error('larger than 1 GiB, or of more than 2^20 sections', DAMAGED),
  'elf-memory': error('no memory to read it', 'give the process more memory'),
  'elf-section-alignment': error('symbols or relocations are not aligned', DAMAGED),
  'elf-entry-size': error('a table is no whole number of entries', DAMAGED),
  'elf-no-bytes': error('a section that needs contents has none', DAMAGED),
  'elf-nobits-size': error('.bss is larger than 32 bits can say', DAMAGED),
  'elf-symbol-bounds': error('a symbol is outside its section', DAMAGED),
  'elf-relocation-bounds': error('a relocation is outside its section', DAMAGED),
  'elf-version-chain': error('version definitions do not end', DAMAGED),
  'elf-compressed': error('a section is compressed', 'compile without -gz'),

  'object-open': error('libbpf refuses it for a reason that no other rule has', COMPILE),
  'object-empty': error(
    'no program and no map',
    'give each program a SEC() and each map a SEC(".maps") definition',
  ),
  'section-unknown': error(
    'a section name that says no program type',
    'use a section name that libbpf knows, such as xdp, tc or tracepoint/…',
  ),
  'function-overlap': error(
    'functions or their names overlap many times over, or there are over 8,192',
    DAMAGED,
  ),

  'license-missing': warning(
    'no licence: the kernel takes it for one that is not GPL-compatible',
    'char LICENSE[] SEC("license") = "GPL";',
  ),
  'license-helper': error('a GPL-only helper is called under another licence', GPL),
  'license-kfunc': error('a kernel function (kfunc) is called under a licence other than the GPL', GPL),
  'license-type': error('a program type that takes a GPL-compatible licence (lsm, struct_ops)', GPL),

  'btf-missing': warning('no BTF: no CO-RE, no member names', 'compile with -g'),
  'btf-invalid': warning('libbpf cannot read the BTF and goes on without', 'compile it again with -g'),
  'btf-ext-invalid': warning(
    'libbpf cannot read .BTF.ext: no CO-RE, no source lines',
    'compile it again with -g',
  ),
  'btf-ext-layout': error(
    '.BTF.ext is in the other byte order, its header ends inside a word, or a section’s name in it has over 512 bytes',
    DAMAGED,
  ),
  'btf-endless': error('a type contains itself, or is nested over 1,000 deep', 'compile it again with -g'),
  'btf-kernel': error(
    'the kernel BTF that was named cannot be read',
    'name a file of BTF, such as /sys/kernel/btf/vmlinux',
  ),

  'program-name-duplicate': error('two programs have one name', 'rename one of them'),
  'program-name-cut': warning(
    'two programs have one name for the kernel, which keeps 15 characters',
    'let the names differ in their first 15 characters',
  ),
  'program-size': error(
    'more instructions than limits.instructions (1,000,000, the kernel’s)',
    'make the program smaller, or split it with tail calls',
  ),
  'program-functions': error(
    'more than 256 functions in one program',
    'call fewer functions, or let the compiler inline them',
  ),

  'code-size': error('a function is no whole number of instructions', DAMAGED),
  'insn-opcode': error(
    'an opcode that Linux 6.18 does not have',
    'compile with -O2 and -mcpu=v2 or v3; -O0 makes indirect calls',
  ),
  'insn-reserved': error('a field is set that the instruction does not use', ASSEMBLER),
  'insn-register': error('a register above r10', ASSEMBLER),
  'insn-frame-pointer': error('r10 is written', ASSEMBLER),
  'insn-operand': error(
    'division by a constant 0, a shift past the width, or a width or atomic operation that is none',
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
    'a call of what is no function in .text',
    'make functions that programs call static, without a SEC() of their own',
  ),
  'insn-helper': error('a helper with a number below 1', 'declare helpers with bpf_helpers.h'),
  'insn-more': error('more broken instructions than are listed', 'mend those that are listed first'),
  'helper-unknown': warning(
    'a helper that is newer than the libbpf built in',
    'check its number; a newer kernel may have it',
  ),

  'core-invalid': error('libbpf cannot make sense of a CO-RE relocation', 'compile it again with -g'),
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
    'the kernel lacks it, and what guards its use is known only at load: .kconfig, a weak symbol',
    'try it with dryRun on that kernel',
  ),
  'core-unresolved': warning(
    'CO-RE relocations that would take over a second to resolve',
    'is it an object that a compiler made? Try it with dryRun',
  ),

  'map-type-unknown': warning(
    'a map type that is newer than the libbpf built in',
    'check its number; a newer kernel may have it',
  ),
  'map-key-size': error('a key size that the map type does not take', 'see the message for the size'),
  'map-value-size': error('a value size that the map type does not take', 'see the message for the size'),
  'map-entries': error(
    'a number of entries that the map type does not take',
    'set max_entries as the message says',
  ),
  'map-flags': error('a flag is missing that the map type needs', '__uint(map_flags, …); with that flag'),
  'map-inner': warning(
    'a map of maps without an inner map’s definition',
    '__array(values, struct { … }); or set it before the load',
  ),
  'map-ring-rounded': warning(
    'a ring that is no power of two of pages: libbpf makes it larger',
    'set max_entries to a power of two that is a multiple of the page size',
  ),
  'map-limit-entries': error(
    'more entries than limits.maxEntries',
    'set max_entries lower, or raise the limit',
  ),
  'map-limit-bytes': error('more memory than limits.mapBytes', 'make the map smaller, or raise the limit'),
  'map-name-duplicate': error('two maps have one name', 'rename one of them'),
  'map-name-cut': warning(
    'two maps have one name for the kernel, which keeps 15 characters',
    'let the names differ in their first 15 characters',
  ),

  'verifier-refused': error('dryRun: the verifier refuses the program', 'read its log: verifier[].log'),
  'dry-run-failed': error('dryRun: the kernel or libbpf refuses something else', 'see the message'),
  'dry-run-permission': error(
    'dryRun: the process may not load programs',
    'run as root, or give the process the capabilities that the message names',
  ),
  'dry-run-remaining': warning(
    'dryRun: two seconds later the kernel still knew what was loaded',
    'look who holds it: bpftool prog, bpftool map',
  ),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;

/** A finding of `rule` in `place`; the rule's own remedy, unless a better one is known. */
export function finding(rule: RuleId, place: string, message: string, remedy?: string): Finding {
  const { level, remedy: usual } = RULES[rule];
  return { rule, level, place, message, remedy: remedy ?? usual };
}

export function isRule(rule: string): rule is RuleId {
  return Object.hasOwn(RULES, rule);
}
