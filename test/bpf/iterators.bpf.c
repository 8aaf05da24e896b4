// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Two iterators over tasks: one writes the number of each process, the other nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL_TYPE;

struct task_struct {
	int pid;
	int tgid;
} KERNEL_TYPE;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} KERNEL_TYPE;

SEC("iter/task")
int each_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 pid;

	if (task && task->pid == task->tgid) {
		pid = task->pid;
		bpf_seq_write(ctx->meta->seq, &pid, sizeof(pid));
	}
	return 0;
}

SEC("iter/task")
int no_task(struct bpf_iter__task *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
