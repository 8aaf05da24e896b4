/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that libelf's interface gives of a file, as lines "key value". A refused item's value starts
 * with "!", and the keys below it are absent. Compiles against native/elf and against elfutils.
 */
#ifndef TEST_NATIVE_WALK_H
#define TEST_NATIVE_WALK_H

#include <gelf.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Enough for every file of the corpus; bounds what a made-up section count costs. */
#define MOST_WALKED 5000

typedef void (*emit_line)(const char *key, const char *value);

struct digest {
	uint64_t hash;
};

static void digest_bytes(struct digest *digest, const void *bytes, size_t size)
{
	const unsigned char *next = bytes;
	uint64_t word;

	for (; size >= sizeof word; size -= sizeof word, next += sizeof word) {
		memcpy(&word, next, sizeof word);
		digest->hash = (digest->hash ^ word) * 0x9e3779b97f4a7c15;
		digest->hash ^= digest->hash >> 29;
	}
	for (; size > 0; size--)
		digest->hash = (digest->hash ^ *next++) * 0x100000001b3;
}

static void digest_number(struct digest *digest, uint64_t number)
{
	digest_bytes(digest, &number, sizeof number);
}

static void digest_string(struct digest *digest, const char *string)
{
	if (string)
		digest_bytes(digest, string, strlen(string) + 1);
	else
		digest_number(digest, 0xdead);
}

static void emit(emit_line line, const char *value, const char *format, ...)
{
	char key[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(key, sizeof key, format, arguments);
	va_end(arguments);
	line(key, value);
}

static const char *number_text(uint64_t number)
{
	static char text[32];

	snprintf(text, sizeof text, "%llx", (unsigned long long)number);
	return text;
}

static const char *refusal(void)
{
#ifdef NODE_EBPF_LIBELF_H
	static char text[64];

	snprintf(text, sizeof text, "!%s", elf_rule_name(elf_errno()));
	return text;
#else
	elf_errno();
	return "!";
#endif
}

static void walk_symbols(emit_line line, Elf *elf, size_t index, const GElf_Shdr *shdr, Elf_Data *data)
{
	struct digest digest = {0};
	int count = (int)(data->d_size / sizeof(Elf64_Sym));
	GElf_Sym symbol;

	for (int i = -1; i <= count; i++) {
		if (!gelf_getsym(data, i, &symbol)) {
			digest_number(&digest, 0xdead);
			continue;
		}
		digest_bytes(&digest, &symbol, sizeof symbol);
		digest_string(&digest, elf_strptr(elf, shdr->sh_link, symbol.st_name));
		digest_number(&digest, elf_ndxscn(elf_getscn(elf, symbol.st_shndx)));
	}
	emit(line, number_text(digest.hash), "section.%zu.data.symbols", index);
}

static void walk_versions(emit_line line, size_t index, Elf_Data *data)
{
	struct digest digest = {0};
	int count = (int)(data->d_size / sizeof(Elf64_Versym));
	GElf_Versym version;

	for (int i = -1; i <= count; i++)
		digest_number(&digest, gelf_getversym(data, i, &version) ? version : 0xdead);
	emit(line, number_text(digest.hash), "section.%zu.data.versions", index);
}

/* The way that libbpf's elf_get_vername() goes. */
static void walk_definitions(emit_line line, Elf *elf, size_t index, const GElf_Shdr *shdr, Elf_Data *data)
{
	struct digest digest = {0};
	GElf_Verdef definition;
	GElf_Verdaux name;
	int offset = 0;

	for (int i = 0; i < MOST_WALKED && gelf_getverdef(data, offset, &definition); i++) {
		digest_bytes(&digest, &definition, sizeof definition);
		if (gelf_getverdaux(data, (int)(offset + definition.vd_aux), &name)) {
			digest_bytes(&digest, &name, sizeof name);
			digest_string(&digest, elf_strptr(elf, shdr->sh_link, name.vda_name));
		}
		if (!definition.vd_next)
			break;
		offset += definition.vd_next;
	}
	for (int i = -4; i <= (int)data->d_size + 4; i += 4) {
		digest_number(&digest, gelf_getverdef(data, i, &definition) ? definition.vd_hash : 0xdead);
		digest_number(&digest, gelf_getverdaux(data, i, &name) ? name.vda_name : 0xdead);
	}
	emit(line, number_text(digest.hash), "section.%zu.data.definitions", index);
}

static void walk_notes(emit_line line, size_t index, Elf_Data *data)
{
	struct digest digest = {0};
	size_t offset = 0;
	size_t name;
	size_t description;
	GElf_Nhdr note;

	for (int i = 0; i < MOST_WALKED; i++) {
		offset = gelf_getnote(data, offset, &note, &name, &description);
		digest_number(&digest, offset);
		if (offset == 0)
			break;
		digest_bytes(&digest, &note, sizeof note);
		digest_number(&digest, name);
		digest_number(&digest, description);
		digest_bytes(&digest, (char *)data->d_buf + name, note.n_namesz);
		digest_bytes(&digest, (char *)data->d_buf + description, note.n_descsz);
	}
	emit(line, number_text(digest.hash), "section.%zu.data.notes", index);
}

static void walk_strings(emit_line line, Elf *elf, size_t index, size_t size)
{
	const size_t offsets[] = {0, 1, size / 2, size - 1, size, size + 1, SIZE_MAX};
	struct digest digest = {0};

	for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
		digest_string(&digest, elf_strptr(elf, index, offsets[i]));
	emit(line, number_text(digest.hash), "section.%zu.data.strings", index);
}

static void walk_data(emit_line line, Elf *elf, size_t index, Elf_Scn *scn, const GElf_Shdr *shdr)
{
	struct digest digest = {0};
	Elf_Data *data;
	char text[64];

	/* elfutils takes section 0's sh_size, which may be the number of sections, for bytes of a section. */
	if (shdr->sh_type == SHT_NULL)
		return;
	data = elf_getdata(scn, NULL);
	if (!data) {
		emit(line, refusal(), "section.%zu.data", index);
		return;
	}
	if (data->d_buf)
		digest_bytes(&digest, data->d_buf, data->d_size);
	snprintf(text, sizeof text, "%zx,%llx", data->d_size, (unsigned long long)digest.hash);
	emit(line, text, "section.%zu.data", index);
	emit(line, elf_getdata(scn, data) ? "more" : "one", "section.%zu.data.blocks", index);
	emit(line, elf_getdata(scn, NULL) == data ? "same" : "other", "section.%zu.data.again", index);
	switch (shdr->sh_type) {
	case SHT_SYMTAB:
	case SHT_DYNSYM:
		walk_symbols(line, elf, index, shdr, data);
		break;
	case SHT_GNU_versym:
		walk_versions(line, index, data);
		break;
	case SHT_GNU_verdef:
		walk_definitions(line, elf, index, shdr, data);
		break;
	case SHT_NOTE:
		walk_notes(line, index, data);
		break;
	case SHT_STRTAB:
		walk_strings(line, elf, index, data->d_size);
		break;
	}
}

static void walk_section(emit_line line, Elf *elf, size_t names, size_t index)
{
	struct digest digest = {0};
	Elf_Scn *scn = elf_getscn(elf, index);
	Elf_Data *raw;
	GElf_Shdr shdr;
	char *name;

	if (!scn || !gelf_getshdr(scn, &shdr)) {
		emit(line, refusal(), "section.%zu", index);
		return;
	}
	digest_bytes(&digest, &shdr, sizeof shdr);
	digest_bytes(&digest, elf64_getshdr(scn), sizeof shdr);
	digest_number(&digest, elf_ndxscn(scn));
	digest_number(&digest, elf_ndxscn(elf_nextscn(elf, scn)));
	emit(line, number_text(digest.hash), "section.%zu", index);

	digest = (struct digest){0};
	name = elf_strptr(elf, names, shdr.sh_name);
	digest_string(&digest, name);
	emit(line, name ? number_text(digest.hash) : refusal(), "section.%zu.name", index);

	walk_data(line, elf, index, scn, &shdr);

	if (shdr.sh_type == SHT_NULL)
		return;
	raw = elf_rawdata(scn, NULL);
	digest = (struct digest){0};
	if (raw && raw->d_buf)
		digest_bytes(&digest, raw->d_buf, raw->d_size);
	emit(line, raw ? number_text(digest.hash) : refusal(), "section.%zu.raw", index);
}

/* `elf` may be NULL: the file was refused. elfutils gives a descriptor of no kind instead. */
static void walk(emit_line line, Elf *elf)
{
	struct digest digest = {0};
	GElf_Ehdr ehdr;
	GElf_Phdr phdr;
	size_t sections = 0;
	size_t names = 0;
	size_t segments = 0;

	if (!elf || elf_kind(elf) != ELF_K_ELF) {
		emit(line, refusal(), "file");
		return;
	}
	emit(line, number_text((uint64_t)gelf_getclass(elf)), "file");
	if (!gelf_getehdr(elf, &ehdr)) {
		emit(line, refusal(), "header");
		return;
	}
	digest_bytes(&digest, &ehdr, sizeof ehdr);
	emit(line, number_text(digest.hash), "header");

	emit(line, elf_getphdrnum(elf, &segments) == 0 ? number_text(segments) : refusal(), "segments");
	for (size_t i = 0; i <= segments && i < MOST_WALKED; i++) {
		digest = (struct digest){0};
		if (gelf_getphdr(elf, (int)i, &phdr)) {
			digest_bytes(&digest, &phdr, sizeof phdr);
			emit(line, number_text(digest.hash), "segment.%zu", i);
		} else {
			emit(line, refusal(), "segment.%zu", i);
		}
	}

	emit(line, elf_getshdrstrndx(elf, &names) == 0 ? number_text(names) : refusal(), "names");
	emit(line, elf_getshdrnum(elf, &sections) == 0 ? number_text(sections) : refusal(), "sections");
	emit(line, number_text(elf_ndxscn(elf_nextscn(elf, NULL))), "first");
	for (size_t i = 0; i <= sections && i < MOST_WALKED; i++)
		walk_section(line, elf, names, i);
}

#endif
