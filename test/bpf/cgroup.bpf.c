// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts the packets that the sockets of a cgroup receive and send, and their connects; everything passes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline int count(__u32 row)
{
	__u64 *seen = bpf_map_lookup_elem(&counts, &row);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	return 1;
}

SEC("cgroup_skb/ingress")
int count_ingress(struct __sk_buff *skb)
{
	return count(0);
}

SEC("cgroup_skb/egress")
int count_egress(struct __sk_buff *skb)
{
	return count(1);
}

SEC("cgroup/skb")
int count_either(struct __sk_buff *skb)
{
	return count(2);
}

SEC("cgroup/connect4")
int count_connect(struct bpf_sock_addr *ctx)
{
	return count(3);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
