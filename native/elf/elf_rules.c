// SPDX-License-Identifier: Apache-2.0
// What each rule is called and says, and the last one that was broken.
#include "elf_file.h"

struct rule_text {
	const char *name;
	const char *sentence;
};

static const struct rule_text rule_texts[ELF_RULE_COUNT] = {
        [ELF_RULE_NONE] = {"elf-none", "no error"},
        [ELF_RULE_ARGUMENT] = {"elf-argument",
                               "the ELF reader was called with an argument it does not serve"},
        [ELF_RULE_EMPTY] = {"elf-empty", "the file is empty"},
        [ELF_RULE_STAT] = {"elf-stat", "the file's size cannot be read"},
        [ELF_RULE_READ] = {"elf-read", "the file cannot be read, or became shorter while it was read"},
        [ELF_RULE_MEMORY] = {"elf-memory", "out of memory"},
        [ELF_RULE_TOO_LARGE] = {"elf-too-large", "the parts of the file that are needed exceed 1 GiB"},
        [ELF_RULE_MAGIC] = {"elf-magic", "not an ELF file"},
        [ELF_RULE_TRUNCATED] = {"elf-truncated", "the file ends inside the ELF header"},
        [ELF_RULE_CLASS] = {"elf-class", "not a 64-bit ELF file"},
        [ELF_RULE_BYTE_ORDER] = {"elf-byte-order", "the ELF file has the other byte order"},
        [ELF_RULE_VERSION] = {"elf-version", "unknown ELF version"},
        [ELF_RULE_SECTION_TABLE] = {"elf-section-table",
                                    "the section header table does not fit into the file"},
        [ELF_RULE_SECTION_BOUNDS] = {"elf-section-bounds", "a section reaches past the end of the file"},
        [ELF_RULE_PROGRAM_HEADERS] = {"elf-program-headers", "the program headers do not fit into the file"},
        [ELF_RULE_SECTION_ALIGNMENT] = {"elf-section-alignment",
                                        "a symbol or relocation section is misaligned"},
        [ELF_RULE_ENTRY_SIZE] = {"elf-entry-size", "a section's size or entry size does not fit its entries"},
        [ELF_RULE_NO_BYTES] = {"elf-no-bytes",
                               "a BTF section holds no bytes (SHT_NOBITS: a debug-only file?)"},
        [ELF_RULE_NOBITS_SIZE] = {"elf-nobits-size", "a zero-initialised section is larger than 4 GiB"},
        [ELF_RULE_SYMBOL_BOUNDS] = {"elf-symbol-bounds", "a symbol is outside its section"},
        [ELF_RULE_VERSION_CHAIN] = {"elf-version-chain", "the version definitions are no forward chain"},
        [ELF_RULE_NO_SECTION] = {"elf-no-section", "no section has this number"},
        [ELF_RULE_NO_PROGRAM_HEADER] = {"elf-no-program-header", "no program header has this number"},
        [ELF_RULE_STRING_OFFSET] = {"elf-string-offset", "a string's offset is outside a string table"},
        [ELF_RULE_STRING_END] = {"elf-string-end", "a string is not terminated inside its table"},
        [ELF_RULE_ENTRY_TYPE] = {"elf-entry-type", "a section does not hold the kind of entry asked for"},
        [ELF_RULE_ENTRY_BOUNDS] = {"elf-entry-bounds", "an entry is outside its section or misaligned"},
        [ELF_RULE_COMPRESSED] = {"elf-compressed", "a section is compressed"},
        [ELF_RULE_RELOCATION_BOUNDS] = {"elf-relocation-bounds",
                                        "a relocation is outside the section it changes"},
        [ELF_RULE_SECTION_OVERLAP] = {"elf-section-overlap",
                                      "the object's sections overlap: together they are larger than it"},
};

static _Thread_local enum elf_rule last_refusal;

void *elf_refuse(enum elf_rule rule)
{
	last_refusal = rule;
	return NULL;
}

const char *elf_rule_name(int rule)
{
	if (rule < 0 || rule >= ELF_RULE_COUNT)
		return "elf-unknown";
	return rule_texts[rule].name;
}

int elf_errno(void)
{
	int rule = last_refusal;

	last_refusal = ELF_RULE_NONE;
	return rule;
}

const char *elf_errmsg(int error)
{
	if (error == 0 && last_refusal == ELF_RULE_NONE)
		return NULL;
	if (error == 0 || error == -1)
		return rule_texts[last_refusal].sentence;
	if (error < 0 || error >= ELF_RULE_COUNT)
		return "unknown error";
	return rule_texts[error].sentence;
}
