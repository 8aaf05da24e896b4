// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For the options of a load: variables of every kind, the size of a map, the target of a program. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

enum level { LOW, MIDDLE, HIGH };

struct limits {
	__u32 low;
	__u16 high;
};

const volatile __u32 answer = 7;
const volatile __s8 tiny = -1;
const volatile __u64 wide = 1;
const volatile bool enabled = false;
const volatile char label[8] = "none";
const volatile __s16 small SEC(".rodata.more") = -300;
volatile __s64 balance = -5;
volatile enum level level = HIGH;
volatile struct limits limits = {1, 2};
volatile __u16 port;
volatile __u64 runs_seen;
static volatile __u32 hidden = 3;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

/* The shape of `table` under another name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} twin SEC(".maps");

SEC("xdp")
int answering(struct xdp_md *ctx)
{
	__u32 key = port;

	runs_seen++;
	balance--;
	bpf_map_lookup_elem(&table, &key);
	if (enabled)
		return label[0] + limits.low + hidden;
	if (level == LOW)
		return port;
	return answer + tiny + (__u32)(wide >> 32) + small - small;
}

SEC("?tp_btf")
int on_btf(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
