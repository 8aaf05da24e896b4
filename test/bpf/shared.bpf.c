// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A map that all loads of this object share, by its name in the BPF file system. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shared SEC(".maps");

SEC("xdp")
int sharing(struct xdp_md *ctx)
{
	__u32 row = 0;
	__u64 *count = bpf_map_lookup_elem(&shared, &row);

	if (count)
		__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
