// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Changes every word of a value under its lock: in a copy under the lock all are the same. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define WORDS 512

struct locked_value {
	struct bpf_spin_lock lock;
	__u32 zero;
	__u64 words[WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct locked_value);
} locked_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct locked_value);
} locked_hash SEC(".maps");

static __always_inline void change(struct locked_value *value)
{
	if (!value)
		return;
	bpf_spin_lock(&value->lock);
	for (int i = 0; i < WORDS; i++)
		((volatile __u64 *)value->words)[i]++;
	bpf_spin_unlock(&value->lock);
}

SEC("tc")
int change_locked(struct __sk_buff *skb)
{
	__u32 key = 1;

	change(bpf_map_lookup_elem(&locked_array, &key));
	change(bpf_map_lookup_elem(&locked_hash, &key));
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
