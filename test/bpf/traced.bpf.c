// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs whose SEC() names their target, one whose SEC() names only its type, and two for kernels with
 * kprobes. Each counts in its own row.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline int hit(__u32 row)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &row);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("raw_tp/sys_enter")
int raw_enter(void *ctx)
{
	return hit(0);
}

SEC("tp_btf/sys_enter")
int btf_enter(void *ctx)
{
	return hit(1);
}

SEC("?tracepoint/raw_syscalls/sys_enter")
int tp_enter(void *ctx)
{
	return hit(2);
}

SEC("?kprobe/do_unlinkat")
int probe(void *ctx)
{
	return hit(3);
}

SEC("?kprobe/node_ebpf_no_such_function")
int nowhere(void *ctx)
{
	return hit(3);
}

SEC("xdp")
int unattached(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
