/* SPDX-License-Identifier: Apache-2.0 */
/* The reader's own: what an open file and its sections are. */
#ifndef NODE_EBPF_ELF_FILE_H
#define NODE_EBPF_ELF_FILE_H

#include <gelf.h>
#include <stdbool.h>

_Static_assert(sizeof(size_t) == 8, "offsets of 64-bit files are kept in size_t");

// The strictest alignment of an ELF64 structure.
#define IMAGE_ALIGNMENT _Alignof(Elf64_Sym)

struct Elf_Scn {
	Elf *elf;
	size_t index;
	Elf64_Shdr shdr;
	Elf_Data data;
	bool checked;
	enum elf_rule refusal; // of elf_getdata(), once checked
	bool strings_known;
	size_t strings_end; // one past the last NUL: a string that starts before it ends inside the section
};

enum image_owner {
	IMAGE_BORROWED, // the caller's
	IMAGE_COPIED,   // malloc
	IMAGE_MAPPED,   // anonymous mapping, filled from fd as it is asked for
};

struct Elf {
	unsigned char *image;
	size_t size;
	enum image_owner owner;
	int fd;
	bool *chunk_read; // of a mapped image, one for each CHUNK
	size_t bytes_read;
	Elf64_Ehdr ehdr;
	size_t section_count;
	size_t names_index;
	size_t segment_count;
	Elf_Scn *sections;
};

static inline bool fits(size_t size, uint64_t offset, uint64_t length)
{
	return offset <= size && length <= size - offset;
}

static inline bool has_bytes(const Elf64_Shdr *shdr)
{
	return shdr->sh_type != SHT_NULL && shdr->sh_type != SHT_NOBITS && shdr->sh_size > 0;
}

// For pointers: `return elf_refuse(rule);`
void *elf_refuse(enum elf_rule rule);
// Reads these bytes of the file into its image, where that has not been done; they are inside the file.
enum elf_rule elf_need(Elf *elf, size_t offset, size_t length);

#endif
