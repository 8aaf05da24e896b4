// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Not an XDP program: a loader that expects XDP must refuse it before loading anything. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} entered SEC(".maps");

SEC("raw_tp/sys_enter")
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 row = 0;
	__u64 *calls = bpf_map_lookup_elem(&entered, &row);

	(void)ctx;
	if (calls)
		(*calls)++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
