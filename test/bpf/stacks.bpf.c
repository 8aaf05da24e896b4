// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Puts the stack of each system call of one process into a stack_trace map. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 process;

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 256);
	__uint(key_size, 4);
	__uint(value_size, 8 * 16);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s64);
} last_stack SEC(".maps");

SEC("raw_tp/sys_enter")
int stack_of(void *ctx)
{
	__u32 row = 0;
	__s64 *last = bpf_map_lookup_elem(&last_stack, &row);

	if (last && bpf_get_current_pid_tgid() >> 32 == process)
		*last = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
