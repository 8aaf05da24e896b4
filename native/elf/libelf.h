/* SPDX-License-Identifier: Apache-2.0 */
/* The part of libelf's interface that libbpf's readers use; elf.c beside it implements it. See README.md. */
#ifndef NODE_EBPF_LIBELF_H
#define NODE_EBPF_LIBELF_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "elf_rules.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Elf Elf;
typedef struct Elf_Scn Elf_Scn;

typedef enum {
	ELF_C_NULL,
	ELF_C_READ,
	ELF_C_READ_MMAP,
} Elf_Cmd;

typedef enum {
	ELF_K_NONE,
	ELF_K_AR,
	ELF_K_COFF,
	ELF_K_ELF,
} Elf_Kind;

/* What a section's entries are; the gelf_get functions refuse data of another type. */
typedef enum {
	ELF_T_BYTE,
	ELF_T_SYM,
	ELF_T_HALF,
	ELF_T_VDEF,
	ELF_T_NHDR,
	ELF_T_NHDR8,
} Elf_Type;

typedef struct {
	void *d_buf; /* NULL where the file holds no bytes: empty sections and SHT_NOBITS */
	Elf_Type d_type;
	unsigned int d_version;
	size_t d_size;
	int64_t d_off;
	size_t d_align;
} Elf_Data;

unsigned int elf_version(unsigned int version);

/* The descriptor must stay open until elf_end(): contents are read when they are first asked for. */
Elf *elf_begin(int fd, Elf_Cmd cmd, Elf *ref);
/* The image must stay until elf_end(). It is only read. */
Elf *elf_memory(char *image, size_t size);
int elf_end(Elf *elf);

Elf_Kind elf_kind(Elf *elf);

/* The last refusal of this thread, an enum elf_rule; reading it clears it, as in elfutils. */
int elf_errno(void);
/* The sentence for a rule; -1: for the last refusal, 0: the same, or NULL when there was none. Clears
 * nothing. */
const char *elf_errmsg(int error);

int elf_getshdrnum(Elf *elf, size_t *count);
int elf_getshdrstrndx(Elf *elf, size_t *index);
int elf_getphdrnum(Elf *elf, size_t *count);
Elf_Scn *elf_getscn(Elf *elf, size_t index);
Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *scn);
size_t elf_ndxscn(Elf_Scn *scn);
char *elf_strptr(Elf *elf, size_t section, size_t offset);
Elf_Data *elf_getdata(Elf_Scn *scn, Elf_Data *prev);
Elf_Data *elf_rawdata(Elf_Scn *scn, Elf_Data *prev);
Elf64_Ehdr *elf64_getehdr(Elf *elf);
Elf64_Shdr *elf64_getshdr(Elf_Scn *scn);

#ifdef __cplusplus
}
#endif
#endif
