// SPDX-License-Identifier: Apache-2.0
// A section: its place in the file, its names, and its contents, which are checked before they are handed
// out.
#include "elf_file.h"

#include <string.h>

// Version indexes have 15 bits (gABI: the 16th is "hidden").
#define MOST_VERSIONS ((size_t)1 << 15)

Elf_Scn *elf_getscn(Elf *elf, size_t index)
{
	if (!elf || index >= elf->section_count)
		return elf_refuse(ELF_RULE_NO_SECTION);
	return &elf->sections[index];
}

// The end of the list is no error.
Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *scn)
{
	size_t next = scn ? scn->index + 1 : 1;

	if (!elf || next >= elf->section_count)
		return NULL;
	return &elf->sections[next];
}

size_t elf_ndxscn(Elf_Scn *scn)
{
	return scn ? scn->index : SHN_UNDEF;
}

Elf64_Shdr *elf64_getshdr(Elf_Scn *scn)
{
	return scn ? &scn->shdr : NULL;
}

// The whole table is searched for its last NUL once: a search for each name makes a table without one
// quadratic.
static enum elf_rule find_strings_end(Elf_Scn *scn)
{
	const unsigned char *bytes = scn->data.d_buf;
	size_t end = scn->data.d_size;
	enum elf_rule rule;

	if (scn->strings_known)
		return ELF_RULE_NONE;
	rule = elf_need(scn->elf, scn->shdr.sh_offset, scn->data.d_size);
	if (rule)
		return rule;
	while (end > 0 && bytes[end - 1] != '\0')
		end--;
	scn->strings_end = end;
	scn->strings_known = true;
	return ELF_RULE_NONE;
}

char *elf_strptr(Elf *elf, size_t section, size_t offset)
{
	Elf_Scn *scn = elf_getscn(elf, section);
	enum elf_rule rule;

	if (!scn)
		return NULL;
	if (scn->shdr.sh_flags & SHF_COMPRESSED)
		return elf_refuse(ELF_RULE_COMPRESSED);
	if (scn->shdr.sh_type != SHT_STRTAB || offset >= scn->data.d_size)
		return elf_refuse(ELF_RULE_STRING_OFFSET);
	rule = find_strings_end(scn);
	if (rule)
		return elf_refuse(rule);
	if (offset >= scn->strings_end)
		return elf_refuse(ELF_RULE_STRING_END);
	return (char *)scn->data.d_buf + offset;
}

// elfutils refuses the same; a symbol count that libbpf gets by division must also be what the reader serves.
static size_t entry_size(uint32_t section_type)
{
	switch (section_type) {
	case SHT_SYMTAB:
	case SHT_DYNSYM:
		return sizeof(Elf64_Sym);
	case SHT_REL:
		return sizeof(Elf64_Rel);
	case SHT_RELA:
		return sizeof(Elf64_Rela);
	case SHT_DYNAMIC:
		return sizeof(Elf64_Dyn);
	case SHT_INIT_ARRAY:
	case SHT_FINI_ARRAY:
	case SHT_PREINIT_ARRAY:
		return sizeof(Elf64_Addr);
	case SHT_HASH:
	case SHT_GROUP:
	case SHT_SYMTAB_SHNDX:
		return sizeof(Elf64_Word);
	case SHT_GNU_versym:
		return sizeof(Elf64_Versym);
	case SHT_GNU_verneed:
		return sizeof(Elf64_Verneed);
	case SHT_GNU_LIBLIST:
		return sizeof(Elf64_Lib);
	default:
		return 1;
	}
}

static bool is_symbol_table(const Elf64_Shdr *shdr)
{
	return shdr->sh_type == SHT_SYMTAB || shdr->sh_type == SHT_DYNSYM;
}

static enum elf_rule check_without_bytes(const Elf_Scn *scn)
{
	const Elf *elf = scn->elf;
	const char *name = elf_strptr(scn->elf, elf->names_index, scn->shdr.sh_name);

	// btf__parse() copies d_size bytes from d_buf, which is NULL here. "objcopy --only-keep-debug
	// vmlinux" makes such a section.
	if (name && strncmp(name, ".BTF", strlen(".BTF")) == 0)
		return ELF_RULE_NO_BYTES;
	// libbpf keeps a map's size in 32 bits: 4 GiB + 8 of .bss would silently be a map of 8 bytes.
	if (elf->ehdr.e_type == ET_REL && scn->data.d_size > UINT32_MAX)
		return ELF_RULE_NOBITS_SIZE;
	return ELF_RULE_NONE;
}

// In a relocatable file a symbol's value is an offset in its section. libbpf 1.5 adds sizes to it unchecked:
// a program (CVE-2025-29481) or a struct_ops variable is copied from outside its section when the sum
// overflows.
static bool symbol_fits(const Elf *elf, const Elf64_Sym *symbol)
{
	bool in_section = symbol->st_shndx != SHN_UNDEF && symbol->st_shndx < SHN_LORESERVE;
	size_t room = UINT64_MAX;

	if (in_section && symbol->st_shndx >= elf->section_count)
		return false;
	if (in_section)
		room = elf->sections[symbol->st_shndx].data.d_size;
	return fits(room, symbol->st_value, symbol->st_size);
}

static enum elf_rule check_symbols(const Elf_Scn *scn)
{
	const Elf64_Sym *symbols = scn->data.d_buf;
	size_t count = scn->data.d_size / sizeof *symbols;

	if (scn->elf->ehdr.e_type != ET_REL || scn->shdr.sh_type != SHT_SYMTAB)
		return ELF_RULE_NONE;
	for (size_t i = 0; i < count; i++) {
		if (!symbol_fits(scn->elf, &symbols[i]))
			return ELF_RULE_SYMBOL_BOUNDS;
	}
	return ELF_RULE_NONE;
}

// A relocation changes bytes of the section in sh_info. libbpf sizes an array of map slots by the offset, in
// an int, and takes the map's size for it from BTF: an offset of gigabytes became memset() with a negative
// size.
static enum elf_rule check_relocations(const Elf_Scn *scn)
{
	const Elf *elf = scn->elf;
	const Elf64_Rel *relocations = scn->data.d_buf;
	size_t count = scn->data.d_size / sizeof *relocations;
	const Elf_Scn *target;

	if (elf->ehdr.e_type != ET_REL)
		return ELF_RULE_NONE;
	if (scn->shdr.sh_info >= elf->section_count)
		return ELF_RULE_RELOCATION_BOUNDS;
	target = &elf->sections[scn->shdr.sh_info];
	for (size_t i = 0; i < count; i++) {
		if (!target->data.d_buf || relocations[i].r_offset >= target->data.d_size)
			return ELF_RULE_RELOCATION_BOUNDS;
	}
	return ELF_RULE_NONE;
}

// libbpf follows vd_next in an int without a bound, for each symbol: a link that leads back never ends.
static enum elf_rule check_version_chain(const Elf_Scn *scn)
{
	const unsigned char *bytes = scn->data.d_buf;
	size_t offset = 0;

	for (size_t count = 0; count < MOST_VERSIONS; count++) {
		Elf64_Verdef definition;

		if (!fits(scn->data.d_size, offset, sizeof definition) || offset > INT32_MAX ||
		    offset % _Alignof(Elf64_Verdef) != 0)
			return ELF_RULE_VERSION_CHAIN;
		memcpy(&definition, bytes + offset, sizeof definition);
		if (definition.vd_next == 0)
			return ELF_RULE_NONE;
		if (definition.vd_next < sizeof definition)
			return ELF_RULE_VERSION_CHAIN;
		offset += definition.vd_next;
	}
	return ELF_RULE_VERSION_CHAIN;
}

static enum elf_rule check_contents(Elf_Scn *scn)
{
	const Elf64_Shdr *shdr = &scn->shdr;
	enum elf_rule rule;

	if (shdr->sh_type == SHT_NOBITS || shdr->sh_type == SHT_NULL)
		return check_without_bytes(scn);
	// Only DWARF is compressed in practice; libbpf would take the packed bytes for symbols or BTF.
	if (shdr->sh_flags & SHF_COMPRESSED)
		return ELF_RULE_COMPRESSED;
	if (scn->data.d_size % entry_size(shdr->sh_type) != 0)
		return ELF_RULE_ENTRY_SIZE;
	// libbpf divides by sh_entsize when it looks up a function's symbol.
	if (is_symbol_table(shdr) && shdr->sh_entsize != sizeof(Elf64_Sym))
		return ELF_RULE_ENTRY_SIZE;
	if (!has_bytes(shdr))
		return check_without_bytes(scn);
	// libbpf casts the bytes of these two to structures. No assembler misplaces them, and copies of many
	// sections that overlap would multiply the memory, so they are refused. All other contents are copied
	// out by memcpy.
	if ((shdr->sh_type == SHT_SYMTAB || shdr->sh_type == SHT_REL) &&
	    shdr->sh_offset % IMAGE_ALIGNMENT != 0)
		return ELF_RULE_SECTION_ALIGNMENT;
	rule = elf_need(scn->elf, shdr->sh_offset, shdr->sh_size);
	if (rule)
		return rule;
	if (is_symbol_table(shdr))
		return check_symbols(scn);
	if (shdr->sh_type == SHT_REL)
		return check_relocations(scn);
	if (shdr->sh_type == SHT_GNU_verdef)
		return check_version_chain(scn);
	return ELF_RULE_NONE;
}

Elf_Data *elf_getdata(Elf_Scn *scn, Elf_Data *prev)
{
	// A section of a read file is one block: there is none after it.
	if (!scn || prev)
		return NULL;
	if (!scn->checked) {
		scn->refusal = check_contents(scn);
		scn->checked = true;
	}
	if (scn->refusal)
		return elf_refuse(scn->refusal);
	return &scn->data;
}

Elf_Data *elf_rawdata(Elf_Scn *scn, Elf_Data *prev)
{
	return elf_getdata(scn, prev);
}
