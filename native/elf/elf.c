// SPDX-License-Identifier: Apache-2.0
// A read-only reader of 64-bit ELF files in the machine's own byte order, with libelf's names: what libbpf
// needs of elfutils. Every number of a file is taken as hostile. The rules, and what each prevents, are in
// README.md.
#include <errno.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(size_t) == 8, "offsets of 64-bit files are kept in size_t");

// Files are read into memory in these pieces, each at most once.
#define CHUNK ((size_t)64 * 1024)
// What may be read of one file. A sparse file costs its maker nothing, but the reader real memory.
#define MOST_BYTES ((size_t)1 << 30)
// Far above any linker's output; keeps the section array, libbpf's and ours, small next to MOST_BYTES.
#define MOST_SECTIONS ((size_t)1 << 20)
// Version indexes have 15 bits (gABI: the 16th is "hidden").
#define MOST_VERSIONS ((size_t)1 << 15)
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

// For pointers: `return refuse(rule);`
static void *refuse(enum elf_rule rule)
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

unsigned int elf_version(unsigned int version)
{
	return version <= EV_CURRENT ? EV_CURRENT : EV_NONE;
}

static bool fits(size_t size, uint64_t offset, uint64_t length)
{
	return offset <= size && length <= size - offset;
}

static size_t padded(size_t offset, size_t alignment)
{
	return (offset + alignment - 1) / alignment * alignment;
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
static enum elf_rule need(Elf *elf, size_t offset, size_t length)
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
	rule = need(elf, offset, length);
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
	return need(elf, elf->ehdr.e_phoff, elf->segment_count * sizeof(Elf64_Phdr));
}

static bool has_bytes(const Elf64_Shdr *shdr)
{
	return shdr->sh_type != SHT_NULL && shdr->sh_type != SHT_NOBITS && shdr->sh_size > 0;
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
	return refuse(rule);
}

Elf *elf_memory(char *image, size_t size)
{
	Elf *elf;

	if (!image || size == 0)
		return refuse(ELF_RULE_EMPTY);
	elf = calloc(1, sizeof *elf);
	if (!elf)
		return refuse(ELF_RULE_MEMORY);
	elf->image = (unsigned char *)image;
	elf->size = size;
	elf->owner = IMAGE_BORROWED;
	// A slice of a Buffer, or a file inside a zip, may stand at any address; libbpf casts d_buf to
	// structures.
	if ((uintptr_t)image % IMAGE_ALIGNMENT != 0) {
		elf->image = malloc(size);
		if (!elf->image) {
			free(elf);
			return refuse(ELF_RULE_MEMORY);
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
		return refuse(ELF_RULE_ARGUMENT);
	if (fstat(fd, &status) != 0)
		return refuse(ELF_RULE_STAT);
	if (status.st_size <= 0)
		return refuse(ELF_RULE_EMPTY);
	elf = calloc(1, sizeof *elf);
	if (!elf)
		return refuse(ELF_RULE_MEMORY);
	elf->size = (size_t)status.st_size;
	elf->fd = fd;
	elf->owner = IMAGE_MAPPED;
	elf->image = mmap(NULL, elf->size, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (elf->image == MAP_FAILED) {
		free(elf);
		return refuse(ELF_RULE_MEMORY);
	}
	elf->chunk_read = calloc((elf->size - 1) / CHUNK + 1, sizeof *elf->chunk_read);
	if (!elf->chunk_read) {
		elf_end(elf);
		return refuse(ELF_RULE_MEMORY);
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

Elf_Scn *elf_getscn(Elf *elf, size_t index)
{
	if (!elf || index >= elf->section_count)
		return refuse(ELF_RULE_NO_SECTION);
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

Elf64_Ehdr *elf64_getehdr(Elf *elf)
{
	return elf ? &elf->ehdr : NULL;
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
	rule = need(scn->elf, scn->shdr.sh_offset, scn->data.d_size);
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
		return refuse(ELF_RULE_COMPRESSED);
	if (scn->shdr.sh_type != SHT_STRTAB || offset >= scn->data.d_size)
		return refuse(ELF_RULE_STRING_OFFSET);
	rule = find_strings_end(scn);
	if (rule)
		return refuse(rule);
	if (offset >= scn->strings_end)
		return refuse(ELF_RULE_STRING_END);
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
	rule = need(scn->elf, shdr->sh_offset, shdr->sh_size);
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
		return refuse(scn->refusal);
	return &scn->data;
}

Elf_Data *elf_rawdata(Elf_Scn *scn, Elf_Data *prev)
{
	return elf_getdata(scn, prev);
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
		return refuse(ELF_RULE_NO_PROGRAM_HEADER);
	memcpy(dst, elf->image + elf->ehdr.e_phoff + (size_t)index * sizeof *dst, sizeof *dst);
	return dst;
}

// Copies an entry out of a section's data. Offsets come from ints of libbpf's and may be negative.
static void *entry_at(const Elf_Data *data, Elf_Type type, int64_t offset, void *dst, size_t length,
                      int64_t alignment)
{
	if (!data || data->d_type != type)
		return refuse(ELF_RULE_ENTRY_TYPE);
	if (!data->d_buf || offset < 0 || offset % alignment != 0 ||
	    !fits(data->d_size, (uint64_t)offset, length))
		return refuse(ELF_RULE_ENTRY_BOUNDS);
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
		refuse(ELF_RULE_ENTRY_TYPE);
		return 0;
	}
	if (!data->d_buf || !fits(data->d_size, offset, sizeof *dst)) {
		refuse(ELF_RULE_ENTRY_BOUNDS);
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
		refuse(ELF_RULE_ENTRY_BOUNDS);
		return 0;
	}
	return end;
}
