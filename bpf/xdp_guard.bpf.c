// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Drops frames from listed sources, or those of them above a rate, and passes everything else.
 *
 * The longest prefix that contains a frame's source address decides: drop, or a token bucket. Frames that are
 * not IP, whose IP header is cut off, or that have more than two VLAN tags, pass. All CPUs share a bucket,
 * under a lock: with a bucket for each CPU the rate would be a multiple of the one that was set.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "packet.bpf.h"
#include "xdp_guard.h"

#define ADDRESS_BITS 128

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, GUARD_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_prefix);
	__type(value, __u32); /* a row of guard_rules and guard_counts */
} guard_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GUARD_RULES);
	__type(key, __u32);
	__type(value, struct guard_rule);
} guard_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_RULES);
	__type(key, __u32);
	__type(value, struct guard_counts);
} guard_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_VERDICTS);
	__type(key, __u32);
	__type(value, struct guard_tally);
} guard_totals SEC(".maps");

/* Returns false if the frame has no IP source address, or one that is cut off. */
static __always_inline bool find_source(const void *at, const void *end, struct guard_prefix *source)
{
	__u32 *words = (__u32 *)source->address;
	__be16 type;

	if (!parse_ethernet(&at, end, &type))
		return false;
	if (type == bpf_htons(ETH_P_IP)) {
		const struct ipv4_header *ip = at;

		if ((const void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
			return false;
		words[2] = bpf_htonl(0xffff);
		words[3] = ip->source;
		return true;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6_header *ip = at;

		if ((const void *)(ip + 1) > end || ip->version_class >> 4 != 6)
			return false;
		for (int word = 0; word < 4; word++)
			words[word] = ip->source[word];
		return true;
	}
	return false;
}

static __always_inline bool take_token(struct guard_rule *rule)
{
	__u64 now, full_at;
	bool pass = false;

	if (!rule->interval_ns)
		return false;
	now = bpf_ktime_get_ns();
	bpf_spin_lock(&rule->lock);
	full_at = rule->full_at > now ? rule->full_at : now;
	if (full_at - now <= rule->depth_ns) {
		rule->full_at = full_at + rule->interval_ns;
		pass = true;
	}
	bpf_spin_unlock(&rule->lock);
	return pass;
}

/* A row per CPU, and XDP does not interrupt itself on one CPU: plain additions lose nothing. */
static __always_inline void count(struct guard_tally *tally, __u64 bytes)
{
	tally->packets++;
	tally->bytes += bytes;
}

static __always_inline bool is_allowed(const void *at, const void *end)
{
	struct guard_prefix source;
	struct guard_counts *counts;
	struct guard_rule *rule;
	__u32 *row;
	bool pass;

	/*
	 * An initialiser would be a constant in a .rodata section without variables, and kernel 5.10 refuses
	 * BTF with such a section.
	 */
	__builtin_memset(&source, 0, sizeof(source));
	source.length = ADDRESS_BITS;
	if (!find_source(at, end, &source))
		return true;
	row = bpf_map_lookup_elem(&guard_prefixes, &source);
	if (!row)
		return true;
	rule = bpf_map_lookup_elem(&guard_rules, row);
	counts = bpf_map_lookup_elem(&guard_counts, row);
	if (!rule || !counts)
		return true;
	pass = take_token(rule);
	count(pass ? &counts->passed : &counts->dropped, end - at);
	return pass;
}

SEC("xdp")
int xdp_guard(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	bool pass = is_allowed(data, end);
	__u32 verdict = pass ? GUARD_PASSED : GUARD_DROPPED;
	struct guard_tally *tally = bpf_map_lookup_elem(&guard_totals, &verdict);

	if (tally)
		count(tally, end - data);
	return pass ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
