// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs of a network namespace: each counts its runs and decides nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} asked SEC(".maps");

static __always_inline void count(__u32 row)
{
	__u64 *times = bpf_map_lookup_elem(&asked, &row);

	if (times)
		__sync_fetch_and_add(times, 1);
}

SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *ctx)
{
	count(0);
	return SK_PASS;
}

SEC("flow_dissector")
int on_dissect(struct __sk_buff *skb)
{
	count(1);
	return BPF_OK;
}

SEC("?netfilter")
int on_netfilter(void *ctx)
{
	count(2);
	return 1; /* NF_ACCEPT */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
