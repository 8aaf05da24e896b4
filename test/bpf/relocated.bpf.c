// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Returns whether task_struct has a pid in the BTF that the loader relocates against. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

SEC("xdp")
int relocated(struct xdp_md *ctx)
{
	return bpf_core_field_exists(struct task_struct, pid);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
