// SPDX-License-Identifier: Apache-2.0
// dump SEED COUNT FILE...: everything the reader gives of each file and of COUNT variants of it, as text.
// Compiled twice: with native/elf, and with elfutils' headers and -lelf.
#include "mutate.h"
#include "walk.h"

static void print_line(const char *key, const char *value)
{
	printf("%s %s\n", key, value);
}

static void dump(struct image image)
{
	Elf *elf = elf_memory((char *)image.bytes, image.size);

	walk(print_line, elf);
	elf_end(elf);
	free(image.bytes);
}

int main(int argc, char **argv)
{
	uint64_t seed;
	size_t count;

	if (argc < 4) {
		fprintf(stderr, "usage: dump SEED COUNT FILE...\n");
		return 2;
	}
	elf_version(EV_CURRENT);
	seed = strtoull(argv[1], NULL, 0);
	count = strtoull(argv[2], NULL, 0);
	for (int file = 3; file < argc; file++) {
		struct image base = image_read(argv[file]);

		if (count == 0) {
			printf("= %s whole\n", argv[file]);
			dump(base);
			continue;
		}
		for (size_t number = 0; number < boundary_count(&base) + count; number++) {
			printf("= %s %zu\n", argv[file], number);
			dump(variant(&base, seed, (size_t)(file - 3), number));
		}
		free(base.bytes);
	}
	return 0;
}
