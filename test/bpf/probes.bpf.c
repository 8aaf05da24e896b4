// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probes of the kernel and of user programs: each counts in its own row, for one process if `process` is set.
 * Those with SEC("?…") are for kernels that support them.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile __u32 process;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} probed SEC(".maps");

static __always_inline int add(__u32 row, __u64 value)
{
	__u64 *count = bpf_map_lookup_elem(&probed, &row);

	if (count && (!process || bpf_get_current_pid_tgid() >> 32 == process))
		__sync_fetch_and_add(count, value);
	return 0;
}

SEC("kprobe")
int on_kprobe(void *ctx)
{
	return add(0, 1);
}

SEC("?kprobe")
int on_cookie(void *ctx)
{
	return add(1, bpf_get_attach_cookie(ctx));
}

SEC("kprobe/do_unlinkat")
int by_kprobe(void *ctx)
{
	return add(2, 1);
}

SEC("kretprobe/do_unlinkat")
int by_kretprobe(void *ctx)
{
	return add(3, 1);
}

SEC("kprobe/do_unlinkat+0x0")
int by_offset(void *ctx)
{
	return add(4, 1);
}

SEC("ksyscall/unlink")
int by_ksyscall(void *ctx)
{
	return add(5, 1);
}

SEC("kretsyscall/unlink")
int by_kretsyscall(void *ctx)
{
	return add(6, 1);
}

SEC("?kprobe.multi")
int on_multi(void *ctx)
{
	return add(7, 1);
}

SEC("?kprobe.multi/do_unlink*")
int by_multi(void *ctx)
{
	return add(8, 1);
}

SEC("?kretprobe.multi/do_unlinkat")
int by_multi_return(void *ctx)
{
	return add(9, 1);
}

SEC("?kprobe.multi")
int on_multi_cookie(void *ctx)
{
	return add(10, bpf_get_attach_cookie(ctx));
}

SEC("uprobe")
int on_uprobe(void *ctx)
{
	return add(11, 1);
}

/* The test puts its program here, in a private mount namespace. */
SEC("uprobe//tmp/node-ebpf-probed/probed:first")
int by_uprobe(void *ctx)
{
	return add(12, 1);
}

SEC("uretprobe//tmp/node-ebpf-probed/probed:first")
int by_uretprobe(void *ctx)
{
	return add(13, 1);
}

SEC("?uprobe.multi//tmp/node-ebpf-probed/probed:fir*")
int by_uprobe_multi(void *ctx)
{
	return add(14, 1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
