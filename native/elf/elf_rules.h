/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the reader refused a file, a section or a look-up. elf_errno() returns these numbers and elf_errmsg() a
 * sentence for each; the names are what JavaScript sees. Numbers and names are stable: new rules go to the
 * end.
 */
#ifndef NODE_EBPF_ELF_RULES_H
#define NODE_EBPF_ELF_RULES_H

#ifdef __cplusplus
extern "C" {
#endif

enum elf_rule {
	ELF_RULE_NONE = 0,

	/* The whole file: elf_memory() and elf_begin() return NULL. */
	ELF_RULE_ARGUMENT = 1,         /* elf-argument */
	ELF_RULE_EMPTY = 2,            /* elf-empty */
	ELF_RULE_STAT = 3,             /* elf-stat */
	ELF_RULE_READ = 4,             /* elf-read */
	ELF_RULE_MEMORY = 5,           /* elf-memory */
	ELF_RULE_TOO_LARGE = 6,        /* elf-too-large */
	ELF_RULE_MAGIC = 7,            /* elf-magic */
	ELF_RULE_TRUNCATED = 8,        /* elf-truncated */
	ELF_RULE_CLASS = 9,            /* elf-class */
	ELF_RULE_BYTE_ORDER = 10,      /* elf-byte-order */
	ELF_RULE_VERSION = 11,         /* elf-version */
	ELF_RULE_SECTION_TABLE = 12,   /* elf-section-table */
	ELF_RULE_SECTION_BOUNDS = 13,  /* elf-section-bounds */
	ELF_RULE_PROGRAM_HEADERS = 14, /* elf-program-headers */

	/* One section: elf_getdata() and elf_rawdata() return NULL. */
	ELF_RULE_SECTION_ALIGNMENT = 15, /* elf-section-alignment */
	ELF_RULE_ENTRY_SIZE = 16,        /* elf-entry-size */
	ELF_RULE_NO_BYTES = 17,          /* elf-no-bytes */
	ELF_RULE_NOBITS_SIZE = 18,       /* elf-nobits-size */
	ELF_RULE_SYMBOL_BOUNDS = 19,     /* elf-symbol-bounds */
	ELF_RULE_VERSION_CHAIN = 20,     /* elf-version-chain */

	/* One look-up: the asked-for entry does not exist. */
	ELF_RULE_NO_SECTION = 21,        /* elf-no-section */
	ELF_RULE_NO_PROGRAM_HEADER = 22, /* elf-no-program-header */
	ELF_RULE_STRING_OFFSET = 23,     /* elf-string-offset */
	ELF_RULE_STRING_END = 24,        /* elf-string-end */
	ELF_RULE_ENTRY_TYPE = 25,        /* elf-entry-type */
	ELF_RULE_ENTRY_BOUNDS = 26,      /* elf-entry-bounds */

	/* Later additions. */
	ELF_RULE_COMPRESSED = 27,        /* elf-compressed: one section */
	ELF_RULE_RELOCATION_BOUNDS = 28, /* elf-relocation-bounds: one section */
	ELF_RULE_SECTION_OVERLAP = 29,   /* elf-section-overlap: the whole file */

	ELF_RULE_COUNT
};

/* The rule's name, such as "elf-section-bounds"; "elf-unknown" for a number that is no rule, "elf-none" for
 * 0. */
const char *elf_rule_name(int rule);

#ifdef __cplusplus
}
#endif
#endif
