// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Inserts and deletes keys above 1,000,000 in maps that user space reads meanwhile, some at each system call
 * of the thread "churner".
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define FIRST 1000000
#define KEYS 3000
/* "churner" */
#define CHURNER 0x0072656e72756863ULL

/* Both halves are the same, except in a row that is being written. */
struct row {
	__u64 key;
	__u64 copy;
};

#define MAP(map_name, map_type)                                                                              \
	struct {                                                                                             \
		__uint(type, map_type);                                                                      \
		__uint(max_entries, 8192);                                                                   \
		__type(key, __u32);                                                                          \
		__type(value, struct row);                                                                   \
	} map_name SEC(".maps")

MAP(churn_hash, BPF_MAP_TYPE_HASH);
MAP(churn_percpu, BPF_MAP_TYPE_PERCPU_HASH);

SEC("raw_tp/sys_enter")
int churn(void *ctx)
{
	char name[16] __attribute__((aligned(8))) = {};
	__u32 at = bpf_get_prandom_u32();

	(void)ctx;
	bpf_get_current_comm(name, sizeof(name));
	if (*(__u64 *)name != CHURNER)
		return 0;
	for (int i = 0; i < 8; i++) {
		__u32 key = FIRST + (at + i * 37) % KEYS;
		struct row row = {.key = key, .copy = key};

		if ((at >> (8 + i)) & 1) {
			bpf_map_update_elem(&churn_hash, &key, &row, BPF_ANY);
			bpf_map_update_elem(&churn_percpu, &key, &row, BPF_ANY);
		} else {
			bpf_map_delete_elem(&churn_hash, &key);
			bpf_map_delete_elem(&churn_percpu, &key);
		}
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
