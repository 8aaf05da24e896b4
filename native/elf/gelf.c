// SPDX-License-Identifier: Apache-2.0
// Copies of headers and of single entries of a section's contents.
#include "elf_file.h"

#include <string.h>

static size_t padded(size_t offset, size_t alignment)
{
	return (offset + alignment - 1) / alignment * alignment;
}

int gelf_getclass(Elf *elf)
{
	return elf ? ELFCLASS64 : ELFCLASSNONE;
}

GElf_Ehdr *gelf_getehdr(Elf *elf, GElf_Ehdr *dst)
{
	if (!elf)
		return NULL;
	*dst = elf->ehdr;
	return dst;
}

GElf_Shdr *gelf_getshdr(Elf_Scn *scn, GElf_Shdr *dst)
{
	if (!scn)
		return NULL;
	*dst = scn->shdr;
	return dst;
}

GElf_Phdr *gelf_getphdr(Elf *elf, int index, GElf_Phdr *dst)
{
	if (!elf || index < 0 || (size_t)index >= elf->segment_count)
		return elf_refuse(ELF_RULE_NO_PROGRAM_HEADER);
	memcpy(dst, elf->image + elf->ehdr.e_phoff + (size_t)index * sizeof *dst, sizeof *dst);
	return dst;
}

// Copies an entry out of a section's data. Offsets come from ints of libbpf's and may be negative.
static void *entry_at(const Elf_Data *data, Elf_Type type, int64_t offset, void *dst, size_t length,
                      int64_t alignment)
{
	if (!data || data->d_type != type)
		return elf_refuse(ELF_RULE_ENTRY_TYPE);
	if (!data->d_buf || offset < 0 || offset % alignment != 0 ||
	    !fits(data->d_size, (uint64_t)offset, length))
		return elf_refuse(ELF_RULE_ENTRY_BOUNDS);
	memcpy(dst, (const unsigned char *)data->d_buf + offset, length);
	return dst;
}

GElf_Sym *gelf_getsym(Elf_Data *data, int index, GElf_Sym *dst)
{
	return entry_at(data, ELF_T_SYM, (int64_t)index * (int64_t)sizeof *dst, dst, sizeof *dst,
	                _Alignof(GElf_Sym));
}

GElf_Versym *gelf_getversym(Elf_Data *data, int index, GElf_Versym *dst)
{
	return entry_at(data, ELF_T_HALF, (int64_t)index * (int64_t)sizeof *dst, dst, sizeof *dst,
	                _Alignof(GElf_Versym));
}

GElf_Verdef *gelf_getverdef(Elf_Data *data, int offset, GElf_Verdef *dst)
{
	return entry_at(data, ELF_T_VDEF, offset, dst, sizeof *dst, _Alignof(GElf_Verdef));
}

GElf_Verdaux *gelf_getverdaux(Elf_Data *data, int offset, GElf_Verdaux *dst)
{
	return entry_at(data, ELF_T_VDEF, offset, dst, sizeof *dst, _Alignof(GElf_Verdaux));
}

size_t gelf_getnote(Elf_Data *data, size_t offset, GElf_Nhdr *dst, size_t *name_offset, size_t *desc_offset)
{
	size_t alignment;
	size_t end;

	if (!data || (data->d_type != ELF_T_NHDR && data->d_type != ELF_T_NHDR8)) {
		elf_refuse(ELF_RULE_ENTRY_TYPE);
		return 0;
	}
	if (!data->d_buf || !fits(data->d_size, offset, sizeof *dst)) {
		elf_refuse(ELF_RULE_ENTRY_BOUNDS);
		return 0;
	}
	memcpy(dst, (const unsigned char *)data->d_buf + offset, sizeof *dst);
	alignment = data->d_type == ELF_T_NHDR8 ? 8 : 4;
	// No overflow: the offset is inside the section, whose size is a file's, and the note's sizes have 32
	// bits.
	*name_offset = offset + sizeof *dst;
	*desc_offset = padded(*name_offset + dst->n_namesz, alignment);
	end = padded(*desc_offset + dst->n_descsz, alignment);
	if (end > data->d_size) {
		elf_refuse(ELF_RULE_ENTRY_BOUNDS);
		return 0;
	}
	return end;
}
