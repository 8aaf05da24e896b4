// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Puts the connected sockets of a cgroup into a map, and counts the bytes that they send and receive. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} passed SEC(".maps");

static __always_inline void add(__u32 row, __u64 value)
{
	__u64 *sum = bpf_map_lookup_elem(&passed, &row);

	if (sum)
		__sync_fetch_and_add(sum, value);
}

SEC("sockops")
int on_sockops(struct bpf_sock_ops *ops)
{
	__u32 key = 0;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	add(0, 1);
	bpf_sock_map_update(ops, &sockets, &key, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int on_msg(struct sk_msg_md *msg)
{
	add(1, msg->size);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int on_verdict(struct __sk_buff *skb)
{
	add(2, skb->len);
	return SK_PASS;
}

SEC("sk_skb/stream_parser")
int on_parser(struct __sk_buff *skb)
{
	return skb->len;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
