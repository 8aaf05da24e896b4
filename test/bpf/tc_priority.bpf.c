// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts packets by the skb->priority that an earlier program has set. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} priorities SEC(".maps");

SEC("tc")
int tc_priority(struct __sk_buff *skb)
{
	__u32 priority = skb->priority;
	__u64 none = 0, *packets;

	bpf_map_update_elem(&priorities, &priority, &none, BPF_NOEXIST);
	packets = bpf_map_lookup_elem(&priorities, &priority);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
