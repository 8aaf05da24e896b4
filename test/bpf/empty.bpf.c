// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does nothing: what the kernel says that a run of it takes is what its own clock takes
 * (bench/overhead-process.js). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int empty(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
