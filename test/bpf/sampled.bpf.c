// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Counts samples by CPU, and those of one process. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 process;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} samples SEC(".maps");

static __always_inline void add(__u32 row)
{
	__u64 *count = bpf_map_lookup_elem(&samples, &row);

	if (count)
		(*count)++;
}

SEC("perf_event")
int on_sample(void *ctx)
{
	add(0);
	if (bpf_get_current_pid_tgid() >> 32 == process)
		add(1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
