/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What syscall_latency.bpf.c and lib/programs/syscall-latency.ts share. */
#ifndef NODE_EBPF_SYSCALL_LATENCY_H
#define NODE_EBPF_SYSCALL_LATENCY_H

/* The rows of syscall_latency. */
enum syscall_row {
	SYSCALL_READ,
	SYSCALL_WRITE,
	SYSCALL_SENDTO,
	SYSCALL_RECVFROM,
	SYSCALL_CONNECT,
	SYSCALL_ACCEPT,
	SYSCALL_ACCEPT4,
	SYSCALL_ROWS,
};

/* Above every number that a 64-bit system call has on any architecture. */
#define SYSCALL_NUMBERS 512

/* Slot i: at least 2^i ns and less than 2^(i+1). The first begins at 0, the last (34 s) has no end. */
#define LATENCY_SLOTS 36

struct latency {
	__u64 slots[LATENCY_SLOTS];
	__u64 count;
	__u64 sum_ns;
};

/* The call that a thread is inside. */
struct started_call {
	__u64 ns; /* when it began; 0: the thread is not inside a call */
	__u32 row;
	__u32 lane; /* number of the thread's lane plus 1; 0: it has none */
};

/* A power of two. */
#define LANES 65536

/* The call that the owner of the lane is inside. */
struct lane {
	__u64 ns;
	__u32 row;
	__u32 owner; /* of struct lane_key; 0: the lane is free */
};

/* Calls that began and were not counted. */
struct lost_calls {
	__u64 no_room;   /* started was full */
	__u64 no_return; /* their end was never seen */
};

#endif
