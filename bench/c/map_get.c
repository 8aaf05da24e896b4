// SPDX-License-Identifier: Apache-2.0
// map_get ID: the C side of bench/map-get.js. For each count on standard input, so many lookups of key 0;
// prints their mean in nanoseconds.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

int main(int argc, char **argv)
{
	struct bpf_map_info info = {0};
	__u32 length = sizeof info, key = 0;
	long count;
	void *value;
	int fd = argc == 2 ? bpf_map_get_fd_by_id((__u32)atoi(argv[1])) : -1;

	if (fd < 0 || bpf_map_get_info_by_fd(fd, &info, &length)) {
		perror("map_get");
		return 1;
	}
	value = calloc((size_t)libbpf_num_possible_cpus(), (info.value_size + 7) / 8 * 8);
	while (scanf("%ld", &count) == 1) {
		double start = now();

		for (long i = 0; i < count; i++)
			if (bpf_map_lookup_elem(fd, &key, value))
				return 1;
		printf("%f\n", (now() - start) / (double)count);
		fflush(stdout);
	}
	free(value);
	return 0;
}
