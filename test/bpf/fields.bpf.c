// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Maps whose values have integers of every size, everywhere that BTF can have them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum colour { RED, GREEN = 1000 };

struct fields {
	__u64 u64;
	__s64 s64;
	__u32 u32;
	__s32 s32;
	__u16 u16;
	__s16 s16;
	__u8 u8;
	__s8 s8;
	__u16 slots[3];
	struct {
		__s32 deep;
		__u8 deeper[4];
	} inner;
	struct {
		__u64 unnamed;
	};
	union {
		__u32 either;
		__s8 or ;
	};
	enum colour colour;
	__u32 reserved;
	__u32 bits : 3;
	__u32 after;
	__u8 tail[5];
};

#define MAP(map_name, map_type, map_flags_)                                                                  \
	struct {                                                                                             \
		__uint(type, map_type);                                                                      \
		__uint(max_entries, 16);                                                                     \
		__uint(map_flags, map_flags_);                                                               \
		__type(key, __u32);                                                                          \
		__type(value, struct fields);                                                                \
	} map_name SEC(".maps")

MAP(f_array, BPF_MAP_TYPE_ARRAY, 0);
MAP(f_mapped, BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE);
MAP(f_percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 0);
MAP(f_hash, BPF_MAP_TYPE_HASH, 0);
MAP(f_percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 0);
MAP(f_lru_hash, BPF_MAP_TYPE_LRU_HASH, 0);
MAP(f_lru_percpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, 0);

SEC("xdp")
int fields_of(struct xdp_md *ctx)
{
	__u32 key = 0;
	const void *maps[] = {&f_array,       &f_mapped,   &f_percpu_array, &f_hash,
	                      &f_percpu_hash, &f_lru_hash, &f_lru_percpu};

	(void)ctx;
	(void)maps;
	return bpf_map_lookup_elem(&f_array, &key) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
