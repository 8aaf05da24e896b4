// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Adds up the first argument of a USDT probe. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>
/* libbpf's header warns with -Wextra. */
#pragma clang diagnostic ignored "-Wsign-compare"
#include <bpf/usdt.bpf.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline int add(__u32 row, __u64 value)
{
	__u64 *sum = bpf_map_lookup_elem(&seen, &row);

	if (sum)
		__sync_fetch_and_add(sum, value);
	return 0;
}

SEC("usdt")
int on_usdt(struct pt_regs *ctx)
{
	long argument = 0;

	bpf_usdt_arg(ctx, 0, &argument);
	add(0, 1);
	return add(1, argument);
}

SEC("usdt//tmp/node-ebpf-probed/probed:node_ebpf:turn")
int by_usdt(struct pt_regs *ctx)
{
	return add(2, 1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
