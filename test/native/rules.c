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

// FILE with its section names in holes, a mebibyte on and `size` bytes of them.
static int with_distant_names(const char *path, off_t size, size_t *names)
{
	char bytes[1 << 16];
	int from = open(path, O_RDONLY);
	int fd = memfd_create("distant", 0);
	ssize_t length = read(from, bytes, sizeof bytes);
	Elf64_Ehdr header;
	Elf64_Shdr section;
	size_t at;

	memcpy(&header, bytes, sizeof header);
	at = header.e_shoff + header.e_shstrndx * sizeof section;
	memcpy(&section, bytes + at, sizeof section);
	header.e_type = ET_DYN;
	section.sh_offset = 1 << 20;
	section.sh_size = (Elf64_Xword)size;
	memcpy(bytes, &header, sizeof header);
	memcpy(bytes + at, &section, sizeof section);
	MUST(write(fd, bytes, (size_t)length) == length);
	MUST(ftruncate(fd, (1 << 20) + size) == 0);
	close(from);
	*names = header.e_shstrndx;
	return fd;
}

// A terabyte of holes costs its maker nothing: the reader takes at most 1 GiB of it.
static void huge_sections_are_refused(const char *path)
{
	size_t names;
	int fd = with_distant_names(path, 1L << 39, &names);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);

	MUST(elf);
	MUST(!elf_strptr(elf, names, 1) && elf_errno() == ELF_RULE_TOO_LARGE);
	MUST(!elf_getdata(elf_getscn(elf, names), NULL) && elf_errno() == ELF_RULE_TOO_LARGE);
	elf_end(elf);
	close(fd);
}

static void a_file_may_shrink(const char *path)
{
	size_t names;
	int fd = with_distant_names(path, 1 << 12, &names);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);

	MUST(elf);
	MUST(ftruncate(fd, 1 << 19) == 0);
	MUST(!elf_strptr(elf, names, 1) && elf_errno() == ELF_RULE_READ);
	elf_end(elf);
	close(fd);
}

// What was checked stays: the name's end is not looked for again, so it must not go.
static void a_file_may_change(const char *path)
{
	size_t names;
	int fd = with_distant_names(path, 1 << 12, &names);
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	char *name;
	char bytes[1 << 12];

	MUST(elf);
	name = elf_strptr(elf, names, 1);
	MUST(name && strlen(name) == 0);
	memset(bytes, 'A', sizeof bytes);
	MUST(pwrite(fd, bytes, sizeof bytes, 1 << 20) == sizeof bytes);
	MUST(elf_getdata(elf_getscn(elf, names), NULL));
	MUST(strlen(name) == 0 && elf_strptr(elf, names, 1) == name);
	elf_end(elf);
	close(fd);
}

int main(int argc, char **argv)
{
	MUST(argc == 3);
	alarm(30); // a loop without an end is a failure
	refusals_are_kept_until_read();
	descriptors_are_refused(argv[1]);
	huge_sections_are_refused(argv[2]);
	a_file_may_shrink(argv[2]);
	a_file_may_change(argv[2]);
	for (int rule = 0; rule < ELF_RULE_COUNT; rule++)
		printf("%d %s %s\n", rule, elf_rule_name(rule),
		       elf_errmsg(rule) ? elf_errmsg(rule) : "no error");
	return 0;
}
