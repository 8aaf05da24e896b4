/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile variants of an ELF file, made from a seed: the same (seed, file, number) gives the same bytes in
 * every driver. Variants number 0 up to boundary_count() are the cuts at every boundary; those after it are
 * random.
 */
#ifndef TEST_NATIVE_MUTATE_H
#define TEST_NATIVE_MUTATE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image {
	unsigned char *bytes;
	size_t size;
};

struct random {
	uint64_t state;
};

/* splitmix64 */
static uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t random_below(struct random *random, size_t bound)
{
	return bound ? random_next(random) % bound : 0;
}

static struct image image_read(const char *path)
{
	struct image image = {0};
	FILE *file = fopen(path, "rb");
	size_t capacity = 1 << 16;
	size_t got;

	if (!file) {
		perror(path);
		exit(2);
	}
	image.bytes = malloc(capacity);
	while (image.bytes && (got = fread(image.bytes + image.size, 1, capacity - image.size, file)) > 0) {
		image.size += got;
		if (image.size == capacity)
			image.bytes = realloc(image.bytes, capacity *= 2);
	}
	fclose(file);
	if (!image.bytes) {
		perror("malloc");
		exit(2);
	}
	return image;
}

/* The headers of the unchanged file, which is well-formed: indexes into it need no checks. */
static Elf64_Ehdr header_of(const struct image *base)
{
	Elf64_Ehdr header;

	memcpy(&header, base->bytes, sizeof header);
	return header;
}

static Elf64_Shdr section_of(const struct image *base, size_t index)
{
	Elf64_Shdr section;

	memcpy(&section, base->bytes + header_of(base).e_shoff + index * sizeof section, sizeof section);
	return section;
}

static size_t boundary_count(const struct image *base)
{
	return 6 * (size_t)header_of(base).e_shnum + 8;
}

/* One byte before, at and after: the start and end of each section, and points of interest in the headers. */
static size_t boundary(const struct image *base, size_t number)
{
	Elf64_Ehdr header = header_of(base);
	const size_t others[] = {0, 1, 4, 16, 63, 64, header.e_shoff, header.e_shoff + 64};
	Elf64_Shdr section;
	size_t point;

	if (number < 8)
		return others[number] > base->size ? base->size : others[number];
	number -= 8;
	section = section_of(base, number / 6);
	point = section.sh_offset + (number % 2 && section.sh_type != SHT_NOBITS ? section.sh_size : 0);
	point += number % 6 / 2;
	if (point > 0)
		point--;
	return point > base->size ? base->size : point;
}

static uint64_t hostile_number(struct random *random, const struct image *image, uint64_t old)
{
	const uint64_t numbers[] = {
	        0,
	        1,
	        2,
	        3,
	        4,
	        7,
	        8,
	        16,
	        24,
	        0x7f,
	        0x80,
	        0xff,
	        0x7fff,
	        0x8000,
	        0xff00,
	        0xfff1,
	        0xffff,
	        0x10000,
	        0x7fffffff,
	        0x80000000,
	        0xffffffff,
	        0x100000000,
	        0x100000008,
	        0x7fffffffffffffff,
	        0x8000000000000000,
	        0xfffffffffffff000,
	        0xfffffffffffffff0,
	        0xfffffffffffffff8,
	        0xffffffffffffffff,
	        image->size - 1,
	        image->size,
	        image->size + 1,
	        image->size / 64,
	        old + 1,
	        old - 1,
	        old + 8,
	        old - 8,
	        old * 2,
	        ~old,
	        -old,
	        old ^ 0x8000000000000000,
	        UINT64_MAX / sizeof(Elf64_Shdr) + 1,
	        UINT64_MAX / sizeof(Elf64_Sym) + 1,
	};
	size_t pick = random_below(random, sizeof numbers / sizeof numbers[0] + 8);

	if (pick < sizeof numbers / sizeof numbers[0])
		return numbers[pick];
	return random_below(random, 2 * image->size);
}

static void put_hostile(struct random *random, struct image *image, size_t offset, size_t width)
{
	uint64_t old = 0;
	uint64_t number;

	if (width > image->size || offset > image->size - width)
		return;
	memcpy(&old, image->bytes + offset, width);
	number = hostile_number(random, image, old);
	memcpy(image->bytes + offset, &number, width);
}

struct field {
	size_t offset;
	size_t width;
};
#define FIELD(type, member)                                                                                  \
	{                                                                                                    \
		offsetof(type, member), sizeof(((type *)0)->member)                                          \
	}

static const struct field header_fields[] = {
        FIELD(Elf64_Ehdr, e_type),
        FIELD(Elf64_Ehdr, e_machine),
        FIELD(Elf64_Ehdr, e_phoff),
        FIELD(Elf64_Ehdr, e_shoff),
        FIELD(Elf64_Ehdr, e_phentsize),
        FIELD(Elf64_Ehdr, e_phnum),
        FIELD(Elf64_Ehdr, e_shentsize),
        FIELD(Elf64_Ehdr, e_shnum),
        FIELD(Elf64_Ehdr, e_shstrndx),
        {EI_CLASS, 1},
        {EI_DATA, 1},
        {EI_VERSION, 1},
};
static const struct field section_fields[] = {
        FIELD(Elf64_Shdr, sh_name),    FIELD(Elf64_Shdr, sh_type),   FIELD(Elf64_Shdr, sh_flags),
        FIELD(Elf64_Shdr, sh_addr),    FIELD(Elf64_Shdr, sh_offset), FIELD(Elf64_Shdr, sh_size),
        FIELD(Elf64_Shdr, sh_link),    FIELD(Elf64_Shdr, sh_info),   FIELD(Elf64_Shdr, sh_addralign),
        FIELD(Elf64_Shdr, sh_entsize),
};
static const struct field symbol_fields[] = {
        FIELD(Elf64_Sym, st_name),  FIELD(Elf64_Sym, st_info),  FIELD(Elf64_Sym, st_other),
        FIELD(Elf64_Sym, st_shndx), FIELD(Elf64_Sym, st_value), FIELD(Elf64_Sym, st_size),
};
static const struct field segment_fields[] = {
        FIELD(Elf64_Phdr, p_type),  FIELD(Elf64_Phdr, p_flags),  FIELD(Elf64_Phdr, p_offset),
        FIELD(Elf64_Phdr, p_vaddr), FIELD(Elf64_Phdr, p_filesz), FIELD(Elf64_Phdr, p_memsz),
};

#define PICK(random, fields) ((fields)[random_below(random, sizeof(fields) / sizeof((fields)[0]))])

static size_t header_at(const struct image *base, size_t section)
{
	return header_of(base).e_shoff + section * sizeof(Elf64_Shdr);
}

/* A section of one of the types or names whose contents someone parses. */
static size_t parsed_section(struct random *random, const struct image *base)
{
	Elf64_Ehdr header = header_of(base);
	Elf64_Shdr names = section_of(base, header.e_shstrndx);

	for (int tries = 0; tries < 100; tries++) {
		size_t index = random_below(random, header.e_shnum);
		Elf64_Shdr section = section_of(base, index);
		const char *name = (const char *)base->bytes + names.sh_offset + section.sh_name;

		if (section.sh_size && section.sh_type != SHT_NOBITS && section.sh_type != SHT_RELA &&
		    (section.sh_type != SHT_PROGBITS || strncmp(name, ".BTF", 4) == 0))
			return index;
	}
	return header.e_shstrndx;
}

static void mutate_contents(struct random *random, const struct image *base, struct image *image)
{
	Elf64_Shdr section = section_of(base, parsed_section(random, base));
	size_t offset = section.sh_offset;

	switch (section.sh_type) {
	case SHT_SYMTAB:
	case SHT_DYNSYM: {
		struct field field = PICK(random, symbol_fields);

		offset += random_below(random, section.sh_size / sizeof(Elf64_Sym)) * sizeof(Elf64_Sym);
		put_hostile(random, image, offset + field.offset, field.width);
		return;
	}
	case SHT_STRTAB:
		/* No NUL from here on. */
		if (random_below(random, 2)) {
			size_t start = random_below(random, section.sh_size);

			for (size_t i = offset + start; i < offset + section.sh_size && i < image->size; i++)
				image->bytes[i] |= 1;
			return;
		}
		put_hostile(random, image, offset + random_below(random, section.sh_size), 1);
		return;
	case SHT_GNU_versym:
		put_hostile(random, image, offset + random_below(random, section.sh_size / 2) * 2, 2);
		return;
	default:
		put_hostile(random, image, offset + random_below(random, section.sh_size / 4) * 4,
		            random_below(random, 4) ? 4 : 8);
		return;
	}
}

static void mutate_layout(struct random *random, const struct image *base, struct image *image)
{
	size_t count = header_of(base).e_shnum;
	size_t one = random_below(random, count);
	size_t two = random_below(random, count);
	Elf64_Shdr first = section_of(base, one);
	Elf64_Shdr second = section_of(base, two);
	uint64_t offset = first.sh_offset;

	switch (random_below(random, 4)) {
	case 0: /* swapped contents */
		first.sh_offset = second.sh_offset;
		second.sh_offset = offset;
		break;
	case 1: /* the same contents */
		second.sh_offset = first.sh_offset;
		second.sh_size = first.sh_size;
		break;
	case 2: /* contents moved by a few bytes */
		first.sh_offset += 1 + random_below(random, 15);
		break;
	default: /* contents of another type */
		first.sh_type = second.sh_type;
		first.sh_name = second.sh_name;
		break;
	}
	if (header_at(base, one) + sizeof first <= image->size)
		memcpy(image->bytes + header_at(base, one), &first, sizeof first);
	if (one != two && header_at(base, two) + sizeof second <= image->size)
		memcpy(image->bytes + header_at(base, two), &second, sizeof second);
}

/* gABI's extended numbering: the numbers stand in section header 0. */
static void mutate_numbering(struct random *random, const struct image *base, struct image *image)
{
	static const struct field headers[] = {FIELD(Elf64_Ehdr, e_shnum), FIELD(Elf64_Ehdr, e_shstrndx),
	                                       FIELD(Elf64_Ehdr, e_phnum)};
	static const struct field sections[] = {FIELD(Elf64_Shdr, sh_size), FIELD(Elf64_Shdr, sh_link),
	                                        FIELD(Elf64_Shdr, sh_info)};
	static const uint16_t marks[] = {0, SHN_XINDEX, PN_XNUM};
	Elf64_Ehdr header = header_of(base);
	const uint64_t honest[] = {header.e_shnum, header.e_shstrndx, header.e_phnum};
	size_t which = random_below(random, 3);
	size_t offset = header_at(base, 0) + sections[which].offset;

	if (image->size < sizeof header || offset + 8 > image->size)
		return;
	memcpy(image->bytes + headers[which].offset, &marks[which], 2);
	memcpy(image->bytes + offset, &honest[which], sections[which].width);
	if (random_below(random, 3))
		put_hostile(random, image, offset, sections[which].width);
}

static void mutate_once(struct random *random, const struct image *base, struct image *image)
{
	Elf64_Ehdr header = header_of(base);
	struct field field;

	switch (random_below(random, 12)) {
	case 0:
		image->size = random_below(random, image->size);
		return;
	case 1:
		for (size_t n = 1 + random_below(random, 8); n > 0 && image->size > 0; n--)
			image->bytes[random_below(random, image->size)] ^= 1 << random_below(random, 8);
		return;
	case 2:
		field = PICK(random, header_fields);
		put_hostile(random, image, field.offset, field.width);
		return;
	case 3:
	case 4:
	case 5:
		field = PICK(random, section_fields);
		put_hostile(random, image,
		            header_at(base, random_below(random, header.e_shnum)) + field.offset,
		            field.width);
		return;
	case 6:
		mutate_layout(random, base, image);
		return;
	case 7:
		mutate_numbering(random, base, image);
		return;
	case 8:
		if (header.e_phnum) {
			size_t segment = random_below(random, header.e_phnum);

			field = PICK(random, segment_fields);
			put_hostile(random, image,
			            header.e_phoff + segment * sizeof(Elf64_Phdr) + field.offset,
			            field.width);
			return;
		}
		/* fall through */
	default:
		mutate_contents(random, base, image);
		return;
	}
}

/*
 * Variant `number` of a file, in memory of exactly its size, so that a sanitizer sees the first byte read too
 * many.
 */
static struct image variant(const struct image *base, uint64_t seed, size_t file, size_t number)
{
	struct random random = {seed ^ (file + 1) * 0x9e3779b97f4a7c15 ^ (number + 1) * 0xd1342543de82ef95};
	struct image work = {malloc(base->size), base->size};
	struct image exact;

	memcpy(work.bytes, base->bytes, base->size);
	if (number < boundary_count(base)) {
		work.size = boundary(base, number);
	} else {
		for (size_t rounds = 1 + random_below(&random, 3); rounds > 0; rounds--)
			mutate_once(&random, base, &work);
	}
	exact.size = work.size;
	exact.bytes = malloc(work.size ? work.size : 1);
	memcpy(exact.bytes, work.bytes, work.size);
	free(work.bytes);
	return exact;
}

#endif
