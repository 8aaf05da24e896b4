// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Iterates over a map and writes each key and value. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL_TYPE;

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *map;
	void *key;
	void *value;
} KERNEL_TYPE;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} walked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u8);
	__type(value, __u8);
} narrow SEC(".maps");

SEC("iter/bpf_map_elem")
int each_element(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key, *value = ctx->value, pair[2];

	if (!key || !value)
		return 0;
	pair[0] = *key;
	pair[1] = *value;
	bpf_seq_write(ctx->meta->seq, pair, sizeof(pair));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
