// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The program of the examples in the documentation: counts packets by length. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} my_map SEC(".maps");

SEC("xdp")
int my_program(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	__u64 one = 1, *count = bpf_map_lookup_elem(&my_map, &length);

	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&my_map, &length, &one, BPF_NOEXIST);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
