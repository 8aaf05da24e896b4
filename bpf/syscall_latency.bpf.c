// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How long system calls take: a histogram of nanoseconds for each.
 *
 * A call begins where the kernel has taken it in, and ends where it is about to return to user space; what it
 * returns is not asked. One that a signal interrupts ends there, whatever becomes of it: where the kernel
 * restarts it (ERESTARTSYS and the like never reach user space), that is another call with a time of its own.
 * A thread that is killed inside a call returns from it first, within the kernel: that is counted too.
 *
 * Calls by 32-bit programs (int 0x80, ia32, AArch32) have numbers of their own, which mean something else in
 * the table of 64-bit ones: they are not counted. Nor are those of x32, by the tracepoints; kprobes cannot
 * tell them from 64-bit ones.
 *
 * Two flavours do the same: two raw tracepoints that see every system call of the machine, or two probes for
 * each of those that are measured. Only one of them may be attached.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "syscall_latency.h"

#define TS_COMPAT 0x2       /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT (1 << 22) /* arch/arm64/include/asm/thread_info.h */

/* Of the kernel's own types only what is read: CO-RE finds where that is on the kernel which runs. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info {
	unsigned long flags;
};

struct thread_info___x86 {
	__u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	void *bpf_storage; /* Linux 5.11 */
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct pt_regs___x86 {
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	__s32 syscallno;
};

#pragma clang attribute pop

/* By a system call's number on this architecture: its row plus 1, or 0 for one that is not measured. */
const volatile __u8 rows[SYSCALL_NUMBERS];
const volatile __u32 only_tgid; /* 0: every process */
const volatile __u32 except_tgid;
/* The PID namespace that those two are of; 0: the initial one. */
const volatile __u64 pidns_dev;
const volatile __u64 pidns_ino;
const volatile bool in_cgroup; /* only what is in or below cgroups[0] */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALL_ROWS);
	__type(key, __u32);
	__type(value, struct latency);
} syscall_latency SEC(".maps");

/*
 * By thread: tgid << 32 | tid, in the initial PID namespace. An entry stays until its thread exits: to make
 * and delete one for each call would take longer than all the rest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct started_call);
} started SEC(".maps");

/*
 * Where a thread that is in `started` keeps its calls but for the first, if no other has that lane: by its
 * tid. To index an array is a fifth of the time that a lookup in a hash takes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LANES);
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

/*
 * Whose a lane is. Only one insertion succeeds, on kernels without an atomic exchange too (before 5.12), and
 * the lock of its bucket orders what one owner and the next write to the lane.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768); /* as `started` */
	__type(key, __u32);
	__type(value, __u32);
} lane_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lost_calls);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} cgroups SEC(".maps");

static __always_inline void lose(bool had_room)
{
	__u32 zero = 0;
	struct lost_calls *calls = bpf_map_lookup_elem(&lost, &zero);

	if (calls)
		__sync_fetch_and_add(had_room ? &calls->no_return : &calls->no_room, 1);
}

/* As user space numbers it; 0 for a process that the namespace does not have. */
static __always_inline __u32 current_tgid(void)
{
	struct bpf_pidns_info ids = {};

	if (!pidns_ino)
		return bpf_get_current_pid_tgid() >> 32;
	if (bpf_get_ns_current_pid_tgid(pidns_dev, pidns_ino, &ids, sizeof(ids)))
		return 0;
	return ids.tgid;
}

static __always_inline bool is_wanted(void)
{
	if (only_tgid && current_tgid() != only_tgid)
		return false;
	if (except_tgid && current_tgid() == except_tgid)
		return false;
	return !in_cgroup || bpf_current_task_under_cgroup(&cgroups, 0) == 1;
}

/*
 * The current thread, and whether its call is of 64 bits (the kernel's in_compat_syscall()). arm64 has no
 * `status`; a whole task is 32-bit there or is not. A task that the verifier knows is read by loads: each
 * helper that is not called is a tenth of what the program takes.
 */
static __always_inline bool in_native_call(__u64 *thread)
{
	struct task_struct *task;
	struct task_struct___x86 *x86;

	if (!bpf_core_field_exists(struct task_struct, bpf_storage)) {
		task = (void *)bpf_get_current_task();
		x86 = (void *)task;
		*thread = bpf_get_current_pid_tgid();
		if (bpf_core_field_exists(x86->thread_info.status))
			return !(BPF_CORE_READ(x86, thread_info.status) & TS_COMPAT);
		return !(BPF_CORE_READ(task, thread_info.flags) & TIF_32BIT);
	}
	task = bpf_get_current_task_btf(); /* as old as bpf_storage */
	x86 = (void *)task;
	*thread = (__u64)task->tgid << 32 | (__u32)task->pid;
	if (bpf_core_field_exists(x86->thread_info.status))
		return !(x86->thread_info.status & TS_COMPAT);
	return !(task->thread_info.flags & TIF_32BIT);
}

static __always_inline struct lane *lane_of(__u64 thread)
{
	__u32 index = (__u32)thread % LANES;

	return bpf_map_lookup_elem(&lanes, &index);
}

/* For the calls to come of a thread that is in `started`. */
static __always_inline void take_lane(__u64 thread, struct lane *lane)
{
	__u32 tid = thread, index = tid % LANES;

	if (!bpf_map_update_elem(&lane_owners, &index, &tid, BPF_NOEXIST))
		lane->tid = tid;
}

static __always_inline void handle_enter(__u32 row)
{
	struct started_call *call, first = {.row = row};
	struct lane *lane;
	__u64 thread, now;

	if (!is_wanted() || !in_native_call(&thread))
		return;
	lane = lane_of(thread);
	if (!lane)
		return;
	now = bpf_ktime_get_ns();
	if (lane->tid == (__u32)thread) {
		/* A thread is inside one call at a time: the end of the one before went by unseen. */
		if (lane->ns)
			lose(true);
		lane->row = row;
		lane->ns = now;
		return;
	}
	call = bpf_map_lookup_elem(&started, &thread);
	if (call) {
		if (call->ns)
			lose(true);
		call->row = row;
		call->ns = now;
		return;
	}
	first.ns = now;
	if (bpf_map_update_elem(&started, &thread, &first, BPF_ANY))
		lose(false);
	else
		take_lane(thread, lane);
}

static __always_inline __u32 slot_of(__u64 ns)
{
	__u32 slot = 0;

#pragma unroll
	for (int bits = 32; bits; bits /= 2) {
		if (ns >> bits) {
			ns >>= bits;
			slot += bits;
		}
	}
	return slot < LATENCY_SLOTS ? slot : LATENCY_SLOTS - 1;
}

/* When the call began that ends now, or 0, where it is not one of `row` whose beginning was seen. */
static __always_inline __u64 end_call(__u64 *ns, __u32 began_as, __u32 row)
{
	__u64 began = *ns;

	*ns = 0;
	if (!began || began_as == row)
		return began;
	lose(true);
	return 0;
}

static __always_inline void handle_exit(__u32 row)
{
	__u64 thread = bpf_get_current_pid_tgid(), began = 0, took;
	struct lane *lane = lane_of(thread);
	struct started_call *call;
	struct latency *latency;
	__u32 slot;

	if (lane && lane->tid == (__u32)thread && lane->ns) {
		began = end_call(&lane->ns, lane->row, row);
	} else {
		/* Also the first call of a thread that has a lane by now. */
		call = bpf_map_lookup_elem(&started, &thread);
		if (call)
			began = end_call(&call->ns, call->row, row);
	}
	if (!began)
		return;
	took = bpf_ktime_get_ns() - began;
	latency = bpf_map_lookup_elem(&syscall_latency, &row);
	if (!latency)
		return;
	slot = slot_of(took);
	/*
	 * A row per CPU, and of the programs only one adds to it, which the kernel does not run twice at once
	 * on a CPU: plain additions lose nothing.
	 */
	if (slot < LATENCY_SLOTS)
		latency->slots[slot]++;
	latency->count++;
	latency->sum_ns += took;
}

/* The row plus 1, or 0. x32's numbers have a bit above the table. */
static __always_inline __u32 row_of(__u64 number)
{
	return number < SYSCALL_NUMBERS ? rows[number] : 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *registers, long number)
{
	__u32 row = row_of(number);

	if (row)
		handle_enter(row - 1);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *registers)
{
	const struct pt_regs___x86 *x86 = (const void *)registers;
	const struct pt_regs___arm64 *arm64 = (const void *)registers;
	__u32 row = row_of(bpf_core_field_exists(x86->orig_ax) ? x86->orig_ax : arm64->syscallno);

	if (row)
		handle_exit(row - 1);
	return 0;
}

/* A thread of both flavours that is gone; what it left would take the room of others for ever. */
static __always_inline void forget(__u64 thread)
{
	struct started_call *call = bpf_map_lookup_elem(&started, &thread);
	struct lane *lane = lane_of(thread);
	__u32 index = (__u32)thread % LANES;

	if (!call)
		return;
	/* Kernels have a bounded number of kretprobes under way: more threads inside a call return unseen. */
	if (call->ns)
		lose(true);
	bpf_map_delete_elem(&started, &thread);
	if (!lane || lane->tid != (__u32)thread)
		return;
	if (lane->ns)
		lose(true);
	lane->ns = 0;
	lane->tid = 0;
	bpf_map_delete_elem(&lane_owners, &index);
}

SEC("raw_tp/sched_process_exit")
int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	forget(bpf_get_current_pid_tgid());
	return 0;
}

/* A thread that is not its process's first and calls execve() goes on under the number of the first. */
SEC("raw_tp/sched_process_exec")
int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 old_tid = ctx->args[1];

	if (old_tid != (__u32)thread)
		forget(thread >> 32 << 32 | old_tid);
	return 0;
}

#define PROBES(name, row)                                                                                    \
	SEC("?ksyscall/" #name)                                                                              \
	int enter_##name(struct pt_regs *ctx)                                                                \
	{                                                                                                    \
		handle_enter(row);                                                                           \
		return 0;                                                                                    \
	}                                                                                                    \
                                                                                                             \
	SEC("?kretsyscall/" #name)                                                                           \
	int exit_##name(struct pt_regs *ctx)                                                                 \
	{                                                                                                    \
		handle_exit(row);                                                                            \
		return 0;                                                                                    \
	}

PROBES(read, SYSCALL_READ)
PROBES(write, SYSCALL_WRITE)
PROBES(sendto, SYSCALL_SENDTO)
PROBES(recvfrom, SYSCALL_RECVFROM)
PROBES(connect, SYSCALL_CONNECT)
PROBES(accept, SYSCALL_ACCEPT)
PROBES(accept4, SYSCALL_ACCEPT4)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
