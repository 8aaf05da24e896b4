// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Two socket filters: one counts and keeps every packet, the other drops all. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

SEC("socket")
int keep(struct __sk_buff *skb)
{
	__u32 row = 0;
	__u64 *seen = bpf_map_lookup_elem(&packets, &row);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return skb->len;
}

SEC("socket")
int drop(struct __sk_buff *skb)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
