// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Measures how long system calls take: a histogram of nanoseconds for each.
 *
 * A call begins when the kernel has taken it in, and ends when it is about to return to user space, whatever
 * it returns. A signal that interrupts a call ends it: if the kernel restarts it (ERESTARTSYS and the like
 * never reach user space), that is another call with its own time. A thread that is killed inside a call
 * returns from it first, within the kernel: that is counted too.
 *
 * Calls by 32-bit programs (int 0x80, ia32, AArch32) have other numbers, which mean something else in the
 * table of 64-bit calls: they are not counted. The tracepoints do not count x32 calls either; kprobes cannot
 * tell them from 64-bit ones.
 *
 * Most of the programs' time is their two readings of the clock. If every process is measured, a call usually
 * needs no other helper: other helpers are called only on paths that few calls take.
 *
 * Two flavours do the same: two raw tracepoints that see every system call of the machine, or two probes for
 * each call that is measured. Only one of them may be attached.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "syscall_latency.h"
#include "syscall_threads.bpf.h"

#define TS_COMPAT 0x2       /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT (1 << 22) /* arch/arm64/include/asm/thread_info.h */

/*
 * The fields of the kernel's types that are read; CO-RE finds their offsets. The names have "of" because
 * libbpf's headers define a pt_regs___arm64.
 */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info {
	unsigned long flags;
};

struct thread_info___x86 {
	__u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	void *bpf_storage; /* Linux 5.11 */
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct pt_regs___of_x86 {
	unsigned long r11;
	unsigned long cx;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long flags;
};

struct pt_regs___of_arm64 {
	__s32 syscallno;
};

#pragma clang attribute pop

/* Indexed by a system call's number on this architecture: its row plus 1, or 0 if it is not measured. */
const volatile __u8 rows[SYSCALL_NUMBERS];
const volatile __u32 only_tgid; /* 0: every process */
const volatile __u32 except_tgid;
/* The PID namespace of those two numbers; 0: the initial one. */
const volatile __u64 pidns_dev;
const volatile __u64 pidns_ino;
const volatile bool in_cgroup; /* only processes in or below cgroups[0] */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALL_ROWS);
	__type(key, __u32);
	__type(value, struct latency);
} syscall_latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} cgroups SEC(".maps");

/* The number in the PID namespace of user space; 0 for a process that is not in it. */
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
 * Whether the current thread is in a 64-bit call (the opposite of the kernel's in_compat_syscall()). arm64
 * has no `status`: there a task is 32-bit as a whole or not at all. A task with BTF type is read by plain
 * loads.
 */
static __always_inline bool in_native_call(void)
{
	struct task_struct *task;
	struct task_struct___x86 *x86;

	if (!bpf_core_field_exists(struct task_struct, bpf_storage)) {
		task = (void *)bpf_get_current_task();
		x86 = (void *)task;
		if (bpf_core_field_exists(x86->thread_info.status))
			return !(BPF_CORE_READ(x86, thread_info.status) & TS_COMPAT);
		return !(BPF_CORE_READ(task, thread_info.flags) & TIF_32BIT);
	}
	task = bpf_get_current_task_btf(); /* as old as bpf_storage */
	x86 = (void *)task;
	if (bpf_core_field_exists(x86->thread_info.status))
		return !(x86->thread_info.status & TS_COMPAT);
	return !(task->thread_info.flags & TIF_32BIT);
}

/*
 * The same from the registers alone if they suffice: the instruction SYSCALL leaves its return address in rcx
 * and the flags in r11. In a 32-bit call those registers hold what the caller had in them; a caller that sets
 * them on purpose is taken for 64-bit. If a tracer has changed them, or with FRED, the task is asked.
 */
static __always_inline bool is_native_call(const struct pt_regs *registers)
{
	const struct pt_regs___of_x86 *x86 = (const void *)registers;

	if (bpf_core_field_exists(x86->orig_ax) && x86->cx == x86->ip && x86->r11 == x86->flags)
		return true;
	return in_native_call();
}

/*
 * A thread's user-space registers are saved at one address of its kernel stack as long as it lives; stacks
 * begin at multiples of 16 KiB at least. The verifier treats an address as a number once another address is
 * subtracted; any constant one will do, here that of rows. From bit 56 on all bits of the difference are
 * equal.
 */
static __always_inline struct lane_key lane_key_of_registers(const struct pt_regs *registers)
{
	__u64 at = (__u64)registers;

	asm volatile("%0 -= %1" : "+r"(at) : "r"(rows));
	return (struct lane_key){(at >> 14) % LANES, at >> 30 | 1U << 31};
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

static __always_inline void handle_exit(__u32 row, struct lane_key key)
{
	__u64 began = end_call(row, key), took;
	struct latency *latency;
	__u32 slot;

	if (!began)
		return;
	took = bpf_ktime_get_ns() - began;
	latency = bpf_map_lookup_elem(&syscall_latency, &row);
	if (!latency)
		return;
	slot = slot_of(took);
	/*
	 * A row per CPU, only one program adds to it, and the kernel does not run that twice at once on a
	 * CPU: plain additions lose nothing.
	 */
	if (slot < LATENCY_SLOTS)
		latency->slots[slot]++;
	latency->count++;
	latency->sum_ns += took;
}

/* The row plus 1, or 0. x32 numbers have a bit set that puts them above the table. */
static __always_inline __u32 row_of(__u64 number)
{
	return number < SYSCALL_NUMBERS ? rows[number] : 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *registers, long number)
{
	__u32 row = row_of(number);

	if (row && is_wanted() && is_native_call(registers))
		begin_call(row - 1, lane_key_of_registers(registers));
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *registers)
{
	const struct pt_regs___of_x86 *x86 = (const void *)registers;
	const struct pt_regs___of_arm64 *arm64 = (const void *)registers;
	__u32 row = row_of(bpf_core_field_exists(x86->orig_ax) ? x86->orig_ax : arm64->syscallno);

	if (row)
		handle_exit(row - 1, lane_key_of_registers(registers));
	return 0;
}

SEC("raw_tp/sched_process_exit")
int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	forget(bpf_get_current_pid_tgid());
	return 0;
}

/* A thread that calls execve() and is not the first of its process continues under the first one's number. */
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
		if (is_wanted() && in_native_call())                                                         \
			begin_call(row, lane_key_of_tid(bpf_get_current_pid_tgid()));                        \
		return 0;                                                                                    \
	}                                                                                                    \
                                                                                                             \
	SEC("?kretsyscall/" #name)                                                                           \
	int exit_##name(struct pt_regs *ctx)                                                                 \
	{                                                                                                    \
		handle_exit(row, lane_key_of_tid(bpf_get_current_pid_tgid()));                               \
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
