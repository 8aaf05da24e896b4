// SPDX-License-Identifier: Apache-2.0
// rules DIRECTORY FILE: what needs calls rather than files. Prints each rule's number, name and sentence.
#include <gelf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(condition)                                                                                      \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                              \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

static void refusals_are_kept_until_read(void)
{
	char text[] = "#!/bin/sh\n";

	MUST(elf_errno() == ELF_RULE_NONE);
	MUST(elf_errmsg(0) == NULL);
	MUST(strcmp(elf_errmsg(-1), "no error") == 0);
	MUST(!elf_memory(text, sizeof text));
	MUST(strcmp(elf_errmsg(-1), "not an ELF file") == 0);
	MUST(strcmp(elf_errmsg(0), "not an ELF file") == 0);
	MUST(elf_errno() == ELF_RULE_MAGIC);
	MUST(elf_errno() == ELF_RULE_NONE);
	MUST(strcmp(elf_errmsg(ELF_RULE_CLASS), "not a 64-bit ELF file") == 0);
	MUST(strcmp(elf_errmsg(9999), "unknown error") == 0);
	MUST(strcmp(elf_rule_name(9999), "elf-unknown") == 0);
	MUST(strcmp(elf_rule_name(-1), "elf-unknown") == 0);
}

static void descriptors_are_refused(const char *directory)
{
	int folder = open(directory, O_RDONLY);
	int empty = memfd_create("empty", 0);
	int sparse = memfd_create("sparse", 0);

	MUST(!elf_begin(-1, ELF_C_READ, NULL) && elf_errno() == ELF_RULE_STAT);
	MUST(!elf_begin(0, ELF_C_NULL, NULL) && elf_errno() == ELF_RULE_ARGUMENT);
	MUST(!elf_begin(folder, ELF_C_READ, NULL) && elf_errno() == ELF_RULE_READ);
	MUST(!elf_begin(empty, ELF_C_READ, NULL) && elf_errno() == ELF_RULE_EMPTY);
	MUST(!elf_memory(NULL, 0) && elf_errno() == ELF_RULE_EMPTY);
	MUST(ftruncate(sparse, 1L << 40) == 0);
	MUST(!elf_begin(sparse, ELF_C_READ, NULL) && elf_errno() == ELF_RULE_MAGIC);
	close(folder);
	close(empty);
	close(sparse);
}

// A terabyte of holes costs its maker nothing: the reader takes at most 1 GiB of it.
static void huge_sections_are_refused(const char *path)
{
	char bytes[1 << 16];
	int from = open(path, O_RDONLY);
	int fd = memfd_create("huge", 0);
	ssize_t size = read(from, bytes, sizeof bytes);
	Elf64_Ehdr header;
	Elf64_Shdr section;
	Elf *elf;

	memcpy(&header, bytes, sizeof header);
	memcpy(&section, bytes + header.e_shoff + header.e_shstrndx * sizeof section, sizeof section);
	header.e_type = ET_DYN;
	section.sh_offset = 1 << 20;
	section.sh_size = 1L << 39;
	memcpy(bytes, &header, sizeof header);
	memcpy(bytes + header.e_shoff + header.e_shstrndx * sizeof section, &section, sizeof section);
	MUST(write(fd, bytes, (size_t)size) == size);
	MUST(ftruncate(fd, 1L << 40) == 0);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	MUST(elf);
	MUST(!elf_strptr(elf, header.e_shstrndx, 1) && elf_errno() == ELF_RULE_TOO_LARGE);
	MUST(!elf_getdata(elf_getscn(elf, header.e_shstrndx), NULL) && elf_errno() == ELF_RULE_TOO_LARGE);
	elf_end(elf);
	close(fd);
	close(from);
}

int main(int argc, char **argv)
{
	MUST(argc == 3);
	refusals_are_kept_until_read();
	descriptors_are_refused(argv[1]);
	huge_sections_are_refused(argv[2]);
	for (int rule = 0; rule < ELF_RULE_COUNT; rule++)
		printf("%d %s %s\n", rule, elf_rule_name(rule),
		       elf_errmsg(rule) ? elf_errmsg(rule) : "no error");
	return 0;
}
