// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Returns the value of an option of the kernel configuration. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int CONFIG_NODE_EBPF_TEST __kconfig;

SEC("xdp")
int configured(struct xdp_md *ctx)
{
	return CONFIG_NODE_EBPF_TEST;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
