// SPDX-License-Identifier: Apache-2.0
// fuzz reader|libbpf SEED FROM TO FILE...: variants FROM up to TO of each file, through the reader alone or
// through libbpf's ways of opening files. Built with AddressSanitizer and UndefinedBehaviorSanitizer, which
// end the process at the first finding. A variant that takes a second of processor time ends it too. Nothing
// is loaded into the kernel.
#include "usdt.c"
#include <bpf.h>
#include <btf.h>
#include <fcntl.h>
#include <libbpf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
#include "libbpf_internal.h"
#include "mutate.h"
#include "walk.h"

#define SECOND 1

void __sanitizer_set_death_callback(void (*callback)(void));

static char current_variant[4200];
static uint64_t sum; // keeps the compiler from dropping reads

static void say(const char *what)
{
	if (write(STDERR_FILENO, what, strlen(what)) < 0 ||
	    write(STDERR_FILENO, current_variant, strlen(current_variant)) < 0)
		_exit(4);
}

static void on_death(void)
{
	say("\nsanitizer finding in variant: ");
}

static void on_timeout(int signal)
{
	(void)signal;
	say("\nmore than a second of processor time in variant: ");
	_exit(3);
}

static void arm(int seconds)
{
	struct itimerval timer = {.it_value.tv_sec = seconds};

	setitimer(ITIMER_PROF, &timer, NULL);
}

// Formats what libbpf would print: a name without an end is found by the reading of it.
static int print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char text[1024];
	int length = vsnprintf(text, sizeof text, format, arguments);

	(void)level;
	sum += (uint64_t)length;
	return length;
}

static struct digest lines;

static void digest_line(const char *key, const char *value)
{
	digest_string(&lines, key);
	digest_string(&lines, value);
}

static uint64_t walked(Elf *elf)
{
	lines = (struct digest){0};
	walk(digest_line, elf);
	elf_end(elf);
	return lines.hash;
}

static void must(int condition, const char *what)
{
	if (condition)
		return;
	say("\n");
	say(what);
	_exit(5);
}

static int in_file(const struct image *image)
{
	int fd = memfd_create("variant", MFD_CLOEXEC);

	if (fd < 0 || write(fd, image->bytes, image->size) != (ssize_t)image->size) {
		perror("memfd");
		_exit(4);
	}
	return fd;
}

// The same answers from memory, from a misaligned copy of it, and from a file.
static void fuzz_reader(const struct image *image)
{
	unsigned char *shifted = malloc(image->size + 1);
	int fd = in_file(image);
	uint64_t expected = walked(elf_memory((char *)image->bytes, image->size));

	memcpy(shifted + 1, image->bytes, image->size);
	must(walked(elf_memory((char *)shifted + 1, image->size)) == expected, "misaligned copy differs: ");
	must(walked(elf_begin(fd, ELF_C_READ, NULL)) == expected, "file differs: ");
	// The file may shrink between the calls: an error, never SIGBUS.
	if (image->size > 0) {
		Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);

		if (ftruncate(fd, (off_t)(image->size / 2)) != 0)
			_exit(4);
		walked(elf);
	}
	close(fd);
	free(shifted);
}

static void walk_btf(const struct btf *btf)
{
	for (__u32 i = 1; btf && i < btf__type_cnt(btf); i++) {
		const struct btf_type *type = btf__type_by_id(btf, i);
		const char *name = type ? btf__name_by_offset(btf, type->name_off) : NULL;

		sum += name ? strlen(name) : 0;
		sum += (uint64_t)btf__resolve_size(btf, i);
	}
}

static void walk_object(struct bpf_object *object)
{
	struct bpf_program *program;
	struct bpf_map *map;

	// libbpf 1.5 keeps BTF sizes in an int and returns a "negative" one as the error: below -4095,
	// ERR_PTR(error) is no error to it, and is returned as the object. Callers must take pointers with
	// the sign bit for errors.
	if ((intptr_t)object <= 0)
		return;
	bpf_object__for_each_program(program, object)
	{
		const struct bpf_insn *insns = bpf_program__insns(program);

		sum += strlen(bpf_program__name(program)) + strlen(bpf_program__section_name(program));
		for (size_t i = 0; i < bpf_program__insn_cnt(program); i++)
			sum += (uint64_t)insns[i].imm + insns[i].code;
	}
	bpf_object__for_each_map(map, object)
	{
		size_t size = 0;
		const unsigned char *value = bpf_map__initial_value(map, &size);

		sum += strlen(bpf_map__name(map)) + bpf_map__value_size(map);
		// A .bss of gigabytes costs nothing until it is touched.
		for (size_t i = 0; value && i < size && i < 1 << 16; i++)
			sum += value[i];
	}
	walk_btf(bpf_object__btf(object));
	bpf_object__close(object);
}

static void walk_uprobe_targets(const char *path)
{
	const char *names[] = {"answer", "twice"};
	unsigned long *offsets = NULL;
	size_t count;

	sum += (uint64_t)elf_find_func_offset_from_file(path, "twice");
	sum += (uint64_t)elf_find_func_offset_from_file(path, "answer@CORPUS_1");
	sum += (uint64_t)elf_find_func_offset_from_file(path, "answer@@CORPUS_2");
	sum += (uint64_t)elf_find_func_offset_from_file(path, "answer@CORPUS_3");
	if (elf_resolve_syms_offsets(path, 2, names, &offsets, STT_FUNC) == 0)
		free(offsets);
	if (elf_resolve_pattern_offsets(path, "*", &offsets, &count) == 0)
		free(offsets);
}

static void walk_usdt_targets(const char *path)
{
	static const char *const probes[] = {"old", "new"};
	struct usdt_manager manager = {.has_bpf_cookie = true, .has_sema_refcnt = true};
	struct elf_fd file;

	if (elf_open(path, &file) != 0)
		return;
	for (size_t i = 0; i < 2 && sanity_check_usdt_elf(file.elf, path) == 0; i++) {
		struct usdt_target *targets = NULL;
		size_t count = 0;

		if (collect_usdt_targets(&manager, file.elf, path, -1, "corpus", probes[i], 0, &targets,
		                         &count) > 0)
			free(targets);
	}
	elf_close(&file);
}

static void fuzz_libbpf(const struct image *image)
{
	int fd = in_file(image);
	struct btf_ext *ext = NULL;
	struct btf *btf;
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	walk_object(bpf_object__open_mem(image->bytes, image->size, NULL));
	walk_object(bpf_object__open_file(path, NULL));
	btf = btf__parse_elf(path, &ext);
	if (btf) {
		walk_btf(btf);
		btf_ext__free(ext);
		btf__free(btf);
	}
	walk_uprobe_targets(path);
	walk_usdt_targets(path);
	close(fd);
}

int main(int argc, char **argv)
{
	void (*fuzz)(const struct image *image);
	uint64_t seed;
	size_t from;
	size_t to;

	if (argc < 6) {
		fprintf(stderr, "usage: fuzz reader|libbpf SEED FROM TO FILE...\n");
		return 2;
	}
	fuzz = strcmp(argv[1], "reader") == 0 ? fuzz_reader : fuzz_libbpf;
	seed = strtoull(argv[2], NULL, 0);
	from = strtoull(argv[3], NULL, 0);
	to = strtoull(argv[4], NULL, 0);
	libbpf_set_print(print);
	signal(SIGPROF, on_timeout);
	__sanitizer_set_death_callback(on_death);
	for (int file = 5; file < argc; file++) {
		struct image base = image_read(argv[file]);

		for (size_t number = from; number < to; number++) {
			struct image image = variant(&base, seed, (size_t)(file - 5), number);

			snprintf(current_variant, sizeof current_variant, "%s seed %s number %zu\n",
			         argv[file], argv[2], number);
			arm(SECOND);
			fuzz(&image);
			arm(0);
			free(image.bytes);
		}
		free(base.bytes);
	}
	printf("%zu variants, sum %llx\n", (to - from) * (size_t)(argc - 5), (unsigned long long)sum);
	return 0;
}
