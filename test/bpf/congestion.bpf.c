// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A TCP congestion control that does as little as the kernel allows, and counts the connections using it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct sock;

struct tcp_congestion_ops {
	char name[16];
	void (*init)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
} KERNEL_TYPE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

SEC("struct_ops/init")
void BPF_PROG(on_init, struct sock *sk)
{
	__u32 row = 0;
	__u64 *count = bpf_map_lookup_elem(&started, &row);

	if (count)
		__sync_fetch_and_add(count, 1);
}

SEC("struct_ops/ssthresh")
__u32 BPF_PROG(on_ssthresh, struct sock *sk)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(on_cong_avoid, struct sock *sk, __u32 ack, __u32 acked) {}

SEC("struct_ops/undo_cwnd")
__u32 BPF_PROG(on_undo_cwnd, struct sock *sk)
{
	return 10;
}

SEC(".struct_ops")
struct tcp_congestion_ops kept = {
        .name = "node_ebpf_kept",
        .init = (void *)on_init,
        .ssthresh = (void *)on_ssthresh,
        .cong_avoid = (void *)on_cong_avoid,
        .undo_cwnd = (void *)on_undo_cwnd,
};

char LICENSE[] SEC("license") = "GPL";
