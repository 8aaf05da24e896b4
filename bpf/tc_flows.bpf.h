/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flows of tc_classifier, in sets of 16: a hash selects the set of a flow, and its home place there,
 * which it has unless another flow took it. A new flow takes a free place of its set, or the place of the
 * flow there that was quiet longest. docs/decisions/0012 says why this is not the kernel's LRU hash.
 *
 * A flow is entered under the set's lock. Packets are added to a flow without the lock: if another CPU evicts
 * the flow at that moment, the packet may be counted for the flow that takes its place.
 */
#ifndef NODE_EBPF_TC_FLOWS_BPF_H
#define NODE_EBPF_TC_FLOWS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tc_classifier.h"

#define KEY_WORDS (sizeof(struct flow_key) / sizeof(__u64))

/* The number of entries of `flows` and `flow_fills`. */
const volatile __u32 flow_sets = 8192;
/* Odd multipliers, randomised at load: otherwise a sender could craft flows that all hash to one set. */
const volatile __u64 flow_seeds[KEY_WORDS] = {
        0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93, 0xff51afd7ed558ccd,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct flow_set);
} flows SEC(".maps");

/* The number of flows in each set: a reader can skip the empty sets of `flows`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} flow_fills SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_account);
} flow_accounts SEC(".maps");

static __always_inline __u32 hash_flow(const struct flow_key *key)
{
	const __u64 *words = (const void *)key;
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < KEY_WORDS; i++)
		sum += (words[i] ^ words[i] >> 32) * flow_seeds[i];
	/* Consecutive keys have consecutive sums. */
	return (sum ^ sum >> 32) * flow_seeds[0] >> 32;
}

static __always_inline __u32 set_of(__u32 hash)
{
	return (__u64)hash * flow_sets >> 32;
}

/* A flow that leaves and arrives (lo, a bridge's port) has two home places next to each other. */
static __always_inline __u32 home_of(__u32 hash, __u32 direction)
{
	return ((hash << 1) + direction) & (FLOW_PLACES - 1);
}

static __always_inline int is_flow(const struct flow *flow, const struct flow_key *key)
{
	const __u64 *a = (const void *)&flow->key, *b = (const void *)key;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/*
 * The clock is read once in a tick of the kernel (1 to 10 ms): reading it takes as long as counting a packet.
 */
static __always_inline __u64 about_now(struct flow_account *account)
{
	__u64 tick = bpf_jiffies64();

	if (account->tick != tick) {
		account->now_ns = bpf_ktime_get_ns();
		account->tick = tick;
	}
	return account->now_ns;
}

/* Any CPU may have a packet of the flow at the same moment. */
static __always_inline void add_to_flow(struct flow *flow, const struct class_tally *wire, __u64 now)
{
	volatile struct flow *shared = flow;

	__sync_fetch_and_add(&flow->packets, wire->packets);
	__sync_fetch_and_add(&flow->bytes, wire->bytes);
	if (shared->last_ns < now)
		shared->last_ns = now;
}

/* The place counts as free until its key is whole: the version is in the last word. */
static __always_inline void set_flow(struct flow *flow, const struct flow_key *key,
                                     const struct class_tally *wire, __u64 now)
{
	volatile __u64 *to = (void *)&flow->key;
	const __u64 *from = (const void *)key;

	to[KEY_WORDS - 1] = 0;
	flow->packets = wire->packets;
	flow->bytes = wire->bytes;
	flow->first_ns = now;
	flow->last_ns = now;
#pragma unroll
	for (__u32 i = 0; i < KEY_WORDS; i++)
		to[i] = from[i];
}

/* Finds a flow that is not in its home place, and adds the packet to it. */
static __always_inline int find_flow(struct flow_set *set, const struct flow_account *account)
{
	for (__u32 i = 0; i < FLOW_PLACES; i++) {
		struct flow *flow = &set->places[i];

		if (is_flow(flow, &account->key)) {
			add_to_flow(flow, &account->wire, account->now_ns);
			return 1;
		}
	}
	return 0;
}

static __always_inline void enter_flow(struct flow_set *set, struct flow_account *account)
{
	__u32 index = set_of(account->hash), home = home_of(account->hash, account->key.direction);
	__u64 *fill = bpf_map_lookup_elem(&flow_fills, &index);
	/* The lower bits are the number of the place, counted from the home on. */
	__u64 now = bpf_ktime_get_ns(), quiet_since, first = -1;
	struct flow *flow;
	__u32 i;
	int evicts;

	if (!fill)
		return;
	bpf_spin_lock(&set->lock);
	for (i = 0; i < FLOW_PLACES; i++) {
		flow = &set->places[i];
		if (is_flow(flow, &account->key)) { /* another CPU entered it first */
			add_to_flow(flow, &account->wire, now);
			bpf_spin_unlock(&set->lock);
			return;
		}
		quiet_since = flow->key.version ? flow->last_ns : 0;
		quiet_since = (quiet_since & ~(FLOW_PLACES - 1ULL)) + ((i - home) & (FLOW_PLACES - 1));
		if (quiet_since < first)
			first = quiet_since;
	}
	flow = &set->places[(home + first) & (FLOW_PLACES - 1)];
	evicts = flow->key.version != 0;
	set_flow(flow, &account->key, &account->wire, now);
	if (!evicts)
		++*fill;
	bpf_spin_unlock(&set->lock);
	account->created++;
	account->evicted += evicts;
}

static __always_inline void count_flow(struct flow_key *key, __u32 direction, const struct class_tally *wire)
{
	__u32 hash = hash_flow(key), index = set_of(hash), row = 0;
	struct flow_account *account = bpf_map_lookup_elem(&flow_accounts, &row);
	struct flow_set *set = bpf_map_lookup_elem(&flows, &index);
	struct flow *flow;
	__u64 now;

	if (!account || !set)
		return;
	key->direction = direction;
	now = about_now(account);
	flow = &set->places[home_of(hash, direction)];
	if (is_flow(flow, key)) {
		add_to_flow(flow, wire, now);
		return;
	}
	/*
	 * Read back from a map, these values are the same to the verifier whatever path led here, so that it
	 * walks the rest once. Not a subprogram: with one, 6.1's verifier prunes fewer states.
	 */
	account->hash = hash;
	account->key = *key;
	account->wire = *wire;
	barrier();
	if (!find_flow(set, account))
		enter_flow(set, account);
}

#endif
