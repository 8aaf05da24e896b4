/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_EBPF_GELF_H
#define NODE_EBPF_GELF_H

#include <libelf.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef Elf64_Ehdr GElf_Ehdr;
typedef Elf64_Shdr GElf_Shdr;
typedef Elf64_Phdr GElf_Phdr;
typedef Elf64_Sym GElf_Sym;
typedef Elf64_Nhdr GElf_Nhdr;
typedef Elf64_Versym GElf_Versym;
typedef Elf64_Verdef GElf_Verdef;
typedef Elf64_Verdaux GElf_Verdaux;

#define GELF_ST_BIND(info) ELF64_ST_BIND(info)
#define GELF_ST_TYPE(info) ELF64_ST_TYPE(info)

int gelf_getclass(Elf *elf);
GElf_Ehdr *gelf_getehdr(Elf *elf, GElf_Ehdr *dst);
GElf_Shdr *gelf_getshdr(Elf_Scn *scn, GElf_Shdr *dst);
GElf_Phdr *gelf_getphdr(Elf *elf, int index, GElf_Phdr *dst);
GElf_Sym *gelf_getsym(Elf_Data *data, int index, GElf_Sym *dst);
GElf_Versym *gelf_getversym(Elf_Data *data, int index, GElf_Versym *dst);
GElf_Verdef *gelf_getverdef(Elf_Data *data, int offset, GElf_Verdef *dst);
GElf_Verdaux *gelf_getverdaux(Elf_Data *data, int offset, GElf_Verdaux *dst);
/* Returns the offset of the following note, 0 at the end or where the note does not fit. */
size_t gelf_getnote(Elf_Data *data, size_t offset, GElf_Nhdr *dst, size_t *name_offset, size_t *desc_offset);

#ifdef __cplusplus
}
#endif
#endif
