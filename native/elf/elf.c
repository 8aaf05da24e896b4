// SPDX-License-Identifier: Apache-2.0
// A read-only reader of 64-bit ELF files in the machine's own byte order, with libelf's names: what libbpf
// needs of elfutils. Every number of a file is taken as hostile. The rules, and what each prevents, are in
// README.md.
#include "elf_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Files are read into memory in these pieces, each at most once.
#define CHUNK ((size_t)64 * 1024)
// What may be read of one file. A sparse file costs its maker nothing, but the reader real memory.
#define MOST_BYTES ((size_t)1 << 30)
// Far above any linker's output; keeps the section array, libbpf's and ours, small next to MOST_BYTES.
#define MOST_SECTIONS ((size_t)1 << 20)

unsigned int elf_version(unsigned int version)
{
	return version <= EV_CURRENT ? EV_CURRENT : EV_NONE;
}

static enum elf_rule read_fully(int fd, unsigned char *dst, size_t length, size_t offset)
{
	while (length > 0) {
		ssize_t got = pread(fd, dst, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return ELF_RULE_READ;
		dst += got;
		offset += (size_t)got;
		length -= (size_t)got;
	}
	return ELF_RULE_NONE;
}

// The file is copied, not mapped: a mapping of a file that its owner truncates kills the process with SIGBUS,
// and one that its owner writes to changes after it was checked. A chunk is read once, so that sections that
// overlap cost and see the same bytes.
enum elf_rule elf_need(Elf *elf, size_t offset, size_t length)
{
	if (elf->owner != IMAGE_MAPPED || length == 0)
		return ELF_RULE_NONE;
	for (size_t chunk = offset / CHUNK; chunk <= (offset + length - 1) / CHUNK; chunk++) {
		size_t start = chunk * CHUNK;
		size_t bytes = elf->size - start < CHUNK ? elf->size - start : CHUNK;
		enum elf_rule rule;

		if (elf->chunk_read[chunk])
			continue;
		if (bytes > MOST_BYTES - elf->bytes_read)
			return ELF_RULE_TOO_LARGE;
		rule = read_fully(elf->fd, elf->image + start, bytes, start);
		if (rule)
			return rule;
		elf->bytes_read += bytes;
		elf->chunk_read[chunk] = true;
	}
	return ELF_RULE_NONE;
}

// Copies a structure out: headers may stand at any offset.
static enum elf_rule take(Elf *elf, uint64_t offset, void *dst, size_t length)
{
	enum elf_rule rule;

	if (!fits(elf->size, offset, length))
		return ELF_RULE_TRUNCATED;
	rule = elf_need(elf, offset, length);
	if (rule)
		return rule;
	memcpy(dst, elf->image + offset, length);
	return ELF_RULE_NONE;
}

static enum elf_rule read_header(Elf *elf)
{
	const unsigned char own_order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
	unsigned char ident[EI_NIDENT] = {0};
	size_t ident_size = elf->size < sizeof ident ? elf->size : sizeof ident;
	enum elf_rule rule = take(elf, 0, ident, ident_size);

	if (rule)
		return rule;
	if (memcmp(ident, ELFMAG, SELFMAG) != 0)
		return ELF_RULE_MAGIC;
	if (ident_size < sizeof ident)
		return ELF_RULE_TRUNCATED;
	if (ident[EI_CLASS] != ELFCLASS64)
		return ELF_RULE_CLASS;
	if (ident[EI_DATA] != own_order)
		return ELF_RULE_BYTE_ORDER;
	if (ident[EI_VERSION] != EV_CURRENT)
		return ELF_RULE_VERSION;
	return take(elf, 0, &elf->ehdr, sizeof elf->ehdr);
}

// Numbers that do not fit into the ELF header stand in section header 0 (gABI, "extended section numbering").
static enum elf_rule read_counts(Elf *elf)
{
	Elf64_Shdr zero = {0};

	elf->section_count = elf->ehdr.e_shnum;
	elf->names_index = elf->ehdr.e_shstrndx;
	elf->segment_count = elf->ehdr.e_phnum;
	if (elf->ehdr.e_shoff == 0) {
		// There is no section header 0 to read the real numbers from.
		if (elf->section_count || elf->names_index == SHN_XINDEX || elf->segment_count == PN_XNUM)
			return ELF_RULE_SECTION_TABLE;
		return ELF_RULE_NONE;
	}
	if (elf->ehdr.e_shentsize != sizeof zero || !fits(elf->size, elf->ehdr.e_shoff, sizeof zero))
		return ELF_RULE_SECTION_TABLE;
	enum elf_rule rule = take(elf, elf->ehdr.e_shoff, &zero, sizeof zero);
	if (rule)
		return rule;
	if (elf->section_count == 0)
		elf->section_count = zero.sh_size;
	if (elf->section_count == 0)
		return ELF_RULE_SECTION_TABLE;
	if (elf->names_index == SHN_XINDEX)
		elf->names_index = zero.sh_link;
	if (elf->segment_count == PN_XNUM)
		elf->segment_count = zero.sh_info;
	return ELF_RULE_NONE;
}

static enum elf_rule check_segments(Elf *elf)
{
	if (elf->ehdr.e_phoff == 0)
		elf->segment_count = 0;
	else if (elf->ehdr.e_phoff >= elf->size)
		return ELF_RULE_PROGRAM_HEADERS;
	if (elf->segment_count == 0)
		return ELF_RULE_NONE;
	if (elf->ehdr.e_phentsize != sizeof(Elf64_Phdr))
		return ELF_RULE_PROGRAM_HEADERS;
	// No overflow: a count is at most 32 bits wide.
	if (!fits(elf->size, elf->ehdr.e_phoff, elf->segment_count * sizeof(Elf64_Phdr)))
		return ELF_RULE_PROGRAM_HEADERS;
	return elf_need(elf, elf->ehdr.e_phoff, elf->segment_count * sizeof(Elf64_Phdr));
}

static Elf_Type entry_type(const Elf64_Shdr *shdr)
{
	switch (shdr->sh_type) {
	case SHT_SYMTAB:
	case SHT_DYNSYM:
		return ELF_T_SYM;
	case SHT_GNU_versym:
		return ELF_T_HALF;
	case SHT_GNU_verdef:
		return ELF_T_VDEF;
	case SHT_NOTE:
		return shdr->sh_addralign == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
	default:
		return ELF_T_BYTE;
	}
}

static enum elf_rule read_section(Elf *elf, size_t index)
{
	Elf_Scn *scn = &elf->sections[index];
	enum elf_rule rule =
	        take(elf, elf->ehdr.e_shoff + index * sizeof scn->shdr, &scn->shdr, sizeof scn->shdr);

	if (rule)
		return rule;
	scn->elf = elf;
	scn->index = index;
	scn->data.d_version = EV_CURRENT;
	scn->data.d_type = entry_type(&scn->shdr);
	scn->data.d_align = scn->shdr.sh_addralign;
	// Section 0's sh_size may be the number of sections.
	scn->data.d_size = scn->shdr.sh_type == SHT_NULL ? 0 : scn->shdr.sh_size;
	if (!has_bytes(&scn->shdr))
		return ELF_RULE_NONE;
	if (!fits(elf->size, scn->shdr.sh_offset, scn->shdr.sh_size))
		return ELF_RULE_SECTION_BOUNDS;
	scn->data.d_buf = elf->image + scn->shdr.sh_offset;
	return ELF_RULE_NONE;
}

// libbpf reads every section of an object. Without this, a small file whose thousand sections are all of its
// bytes is a thousand files to go through.
static enum elf_rule check_overlap(const Elf *elf)
{
	size_t left = elf->size;

	if (elf->ehdr.e_type != ET_REL)
		return ELF_RULE_NONE;
	for (size_t i = 0; i < elf->section_count; i++) {
		const Elf_Scn *scn = &elf->sections[i];

		if (!scn->data.d_buf)
			continue;
		if (scn->data.d_size > left)
			return ELF_RULE_SECTION_OVERLAP;
		left -= scn->data.d_size;
	}
	return ELF_RULE_NONE;
}

static enum elf_rule read_sections(Elf *elf)
{
	size_t count = elf->section_count;

	if (count == 0)
		return ELF_RULE_NONE;
	// No overflow below: the count is at most 2^20.
	if (count > MOST_SECTIONS || !fits(elf->size, elf->ehdr.e_shoff, count * sizeof(Elf64_Shdr)))
		return ELF_RULE_SECTION_TABLE;
	elf->sections = calloc(count, sizeof *elf->sections);
	if (!elf->sections)
		return ELF_RULE_MEMORY;
	for (size_t i = 0; i < count; i++) {
		enum elf_rule rule = read_section(elf, i);

		if (rule)
			return rule;
	}
	return check_overlap(elf);
}

static Elf *open_elf(Elf *elf)
{
	enum elf_rule rule = read_header(elf);

	if (!rule)
		rule = read_counts(elf);
	if (!rule)
		rule = read_sections(elf);
	if (!rule)
		rule = check_segments(elf);
	if (!rule)
		return elf;
	elf_end(elf);
	return elf_refuse(rule);
}

Elf *elf_memory(char *image, size_t size)
{
	Elf *elf;

	if (!image || size == 0)
		return elf_refuse(ELF_RULE_EMPTY);
	elf = calloc(1, sizeof *elf);
	if (!elf)
		return elf_refuse(ELF_RULE_MEMORY);
	elf->image = (unsigned char *)image;
	elf->size = size;
	elf->owner = IMAGE_BORROWED;
	// A slice of a Buffer, or a file inside a zip, may stand at any address; libbpf casts d_buf to
	// structures.
	if ((uintptr_t)image % IMAGE_ALIGNMENT != 0) {
		elf->image = malloc(size);
		if (!elf->image) {
			free(elf);
			return elf_refuse(ELF_RULE_MEMORY);
		}
		memcpy(elf->image, image, size);
		elf->owner = IMAGE_COPIED;
	}
	return open_elf(elf);
}

Elf *elf_begin(int fd, Elf_Cmd cmd, Elf *ref)
{
	struct stat status;
	Elf *elf;

	if ((cmd != ELF_C_READ && cmd != ELF_C_READ_MMAP) || ref)
		return elf_refuse(ELF_RULE_ARGUMENT);
	if (fstat(fd, &status) != 0)
		return elf_refuse(ELF_RULE_STAT);
	if (status.st_size <= 0)
		return elf_refuse(ELF_RULE_EMPTY);
	elf = calloc(1, sizeof *elf);
	if (!elf)
		return elf_refuse(ELF_RULE_MEMORY);
	elf->size = (size_t)status.st_size;
	elf->fd = fd;
	elf->owner = IMAGE_MAPPED;
	elf->image = mmap(NULL, elf->size, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (elf->image == MAP_FAILED) {
		free(elf);
		return elf_refuse(ELF_RULE_MEMORY);
	}
	elf->chunk_read = calloc((elf->size - 1) / CHUNK + 1, sizeof *elf->chunk_read);
	if (!elf->chunk_read) {
		elf_end(elf);
		return elf_refuse(ELF_RULE_MEMORY);
	}
	return open_elf(elf);
}

int elf_end(Elf *elf)
{
	if (!elf)
		return 0;
	if (elf->owner == IMAGE_MAPPED)
		munmap(elf->image, elf->size);
	else if (elf->owner == IMAGE_COPIED)
		free(elf->image);
	free(elf->chunk_read);
	free(elf->sections);
	free(elf);
	return 0;
}

Elf_Kind elf_kind(Elf *elf)
{
	return elf ? ELF_K_ELF : ELF_K_NONE;
}

int elf_getshdrnum(Elf *elf, size_t *count)
{
	if (!elf)
		return -1;
	*count = elf->section_count;
	return 0;
}

int elf_getshdrstrndx(Elf *elf, size_t *index)
{
	if (!elf)
		return -1;
	*index = elf->names_index;
	return 0;
}

int elf_getphdrnum(Elf *elf, size_t *count)
{
	if (!elf)
		return -1;
	*count = elf->segment_count;
	return 0;
}

Elf64_Ehdr *elf64_getehdr(Elf *elf)
{
	return elf ? &elf->ehdr : NULL;
}
