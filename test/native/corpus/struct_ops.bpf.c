// SPDX-License-Identifier: Apache-2.0
/* A struct_ops map (its functions come from relocations of data) and an arena with data. */
#include "bpf.h"

struct sock;

struct tcp_congestion_ops {
	__u64 flags;
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	char name[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, 1 << 10);
	__uint(max_entries, 100);
} arena SEC(".maps");

__u64 arena_counter SEC(".addr_space.1") = 5;

SEC("struct_ops/ssthresh")
__u32 half(__u64 *ctx)
{
	return ctx[0] / 2;
}

SEC("struct_ops/cong_avoid")
void avoid(__u64 *ctx)
{
	arena_counter += ctx[1];
}

SEC(".struct_ops")
struct tcp_congestion_ops half_cc = {
        .ssthresh = (void *)half,
        .cong_avoid = (void *)avoid,
        .name = "half",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops linked_cc = {
        .ssthresh = (void *)half,
        .name = "linked",
};

char LICENSE[] SEC("license") = "GPL";
