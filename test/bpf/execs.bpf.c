// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The program of docs/tracing.md. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, char[16]);
	__type(value, __u64);
} execs SEC(".maps");

SEC("raw_tp/sched_process_exec")
int count_exec(void *ctx)
{
	char name[16] = {};
	__u64 one = 1, *count;

	bpf_get_current_comm(name, sizeof(name));
	count = bpf_map_lookup_elem(&execs, name);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&execs, name, &one, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
