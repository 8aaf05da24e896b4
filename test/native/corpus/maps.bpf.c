// SPDX-License-Identifier: Apache-2.0
/* Maps, global data of every kind, a subprogram, CO-RE relocations, kconfig and ksym externs. */
#include "bpf.h"

struct task_struct {
	int pid;
	struct task_struct *parent;
	char comm[16];
} __attribute__((preserve_access_index));

struct value {
	__u64 packets;
	__u64 bytes;
};

const volatile __u32 filter_port = 80;
const char message[] SEC(".rodata.text") = "seen %d";
__u64 seen;
__u64 limit = 1000;
__u32 table[64];
__u64 extra[4] SEC(".data.extra") = {1, 2, 3, 4};

extern int CONFIG_HZ __kconfig __weak;
extern const void bpf_prog_active __ksym __weak;

int entry(void *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct value);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	int (*values[])(void *);
} jumps SEC(".maps") = {
        .values = {[1] = entry},
};

static __attribute__((noinline)) int count(__u32 key)
{
	struct value *value = bpf_map_lookup_elem(&counters, &key);

	if (!value)
		return 0;
	value->packets += limit;
	table[key & 63] += extra[key & 3];
	return value->packets > seen;
}

__attribute__((noinline)) int shared(int n)
{
	return count(n) + CONFIG_HZ + (&bpf_prog_active != 0);
}

SEC("xdp")
int entry(void *ctx)
{
	seen++;
	bpf_trace_printk(message, sizeof(message), filter_port);
	return shared(filter_port) + count(1);
}

SEC("?kprobe/do_exit")
int on_exit(struct task_struct *task)
{
	return task->parent->pid + task->comm[1] + shared(2);
}

char LICENSE[] SEC("license") = "GPL";
__u32 VERSION SEC("version") = 0x060100;
