// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts every frame and decides nothing: TC_ACT_UNSPEC (TCX_NEXT) leaves that to the next program. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tc_frames SEC(".maps");

SEC("tc")
int tc_count(struct __sk_buff *skb)
{
	__u32 row = 0;
	__u64 *frames = bpf_map_lookup_elem(&tc_frames, &row);

	(void)skb;
	if (frames)
		__sync_fetch_and_add(frames, 1);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
