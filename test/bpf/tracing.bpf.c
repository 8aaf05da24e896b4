// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs that attach to functions by the kernel's BTF; each counts for one process and changes nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

const volatile __u32 process;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");

static __always_inline int add(__u32 row)
{
	__u64 *count = bpf_map_lookup_elem(&calls, &row);

	if (count && bpf_get_current_pid_tgid() >> 32 == process)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("?fentry/do_unlinkat")
int by_fentry(void *ctx)
{
	return add(0);
}

SEC("?fexit/do_unlinkat")
int by_fexit(void *ctx)
{
	return add(1);
}

/* A function whose result may be changed: ALLOW_ERROR_INJECTION and security_*. */
SEC("?fmod_ret/security_file_open")
int by_fmod_ret(void *ctx)
{
	return add(2);
}

SEC("?lsm/file_open")
int by_lsm(void *ctx)
{
	return add(3);
}

char LICENSE[] SEC("license") = "GPL";
