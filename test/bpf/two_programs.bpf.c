// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Two XDP programs in one object: the caller must name one. Each counts in its own row. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static __always_inline int count(__u32 row)
{
	__u64 *run = bpf_map_lookup_elem(&runs, &row);

	if (run)
		__sync_fetch_and_add(run, 1);
	return XDP_PASS;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	(void)ctx;
	return count(0);
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	(void)ctx;
	return count(1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
