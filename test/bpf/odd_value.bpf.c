// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Values whose size is not a multiple of 8. The kernel hands out per-CPU values in slots of roundup(size, 8)
 * bytes; a reader that takes the size itself for the stride sees CPU 0 right and every other CPU shifted.
 * Each run writes, on its CPU:
 *
 *   odd_array (12 bytes) rows 0..2   {cpu, row, runs on this CPU}
 *   odd_percpu_hash (20 bytes) keys 7 and 0x01020304   {cpu, key, runs on this CPU, "odd-tail"}
 *   odd_hash (6-byte keys, 3-byte values)   destination address → last three bytes of the source address
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#define ODD_ROWS 3
#define ODD_TAIL 8

struct odd_array_value {
	__u32 cpu;
	__u32 row;
	__u32 runs;
};

struct odd_hash_value {
	__u32 cpu;
	__u32 key;
	__u32 runs;
	char tail[ODD_TAIL];
};

struct address {
	__u8 bytes[ETH_ALEN];
};

struct address_tail {
	__u8 bytes[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ODD_ROWS);
	__type(key, __u32);
	__type(value, struct odd_array_value);
} odd_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct odd_hash_value);
} odd_percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct address);
	__type(value, struct address_tail);
} odd_hash SEC(".maps");

static __always_inline void write_array(__u32 row)
{
	struct odd_array_value *value = bpf_map_lookup_elem(&odd_array, &row);

	if (!value)
		return;
	value->cpu = bpf_get_smp_processor_id();
	value->row = row;
	value->runs++;
}

static __always_inline void write_hash(__u32 key)
{
	struct odd_hash_value *value = bpf_map_lookup_elem(&odd_percpu_hash, &key);
	struct odd_hash_value first = {
	        .key = key, .runs = 1, .tail = {'o', 'd', 'd', '-', 't', 'a', 'i', 'l'}};

	if (value && value->runs) {
		value->runs++;
		return;
	}
	first.cpu = bpf_get_smp_processor_id();
	bpf_map_update_elem(&odd_percpu_hash, &key, &first, BPF_ANY);
}

SEC("xdp")
int odd_value(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	struct address key;
	struct address_tail value;
	__u32 row;

	for (row = 0; row < ODD_ROWS; row++)
		write_array(row);
	write_hash(7);
	write_hash(0x01020304);
	if ((const void *)(eth + 1) > end)
		return XDP_PASS;
	__builtin_memcpy(key.bytes, eth->h_dest, sizeof(key.bytes));
	__builtin_memcpy(value.bytes, eth->h_source + 3, sizeof(value.bytes));
	bpf_map_update_elem(&odd_hash, &key, &value, BPF_ANY);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
