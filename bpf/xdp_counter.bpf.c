// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts every frame that an interface receives, by protocol, and passes it on.
 *
 * A frame is TCP, UDP or ICMP when the headers up to and including the IP header are whole in the frame and
 * the IP header names that protocol. For IPv6 the extension headers belong to the IP header: each one that is
 * walked must be whole. Nothing of the TCP, UDP or ICMP header itself is read: a frame that ends right behind
 * the IP header, a first fragment and every later fragment count alike. IP's own length field, checksum and
 * TTL are not judged either (segments merged by the kernel carry a length of 0): what is counted is what
 * arrived, not what the stack will accept. Everything else is OTHER: ARP, 802.3/LLC, ESP, AH over IPv4,
 * tunnels, ICMP's number in the other IP version, a third VLAN tag, an extension header chain above the
 * bound, a header that is cut off or contradicts itself.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "xdp_counter.h"

#define ETH_P_QINQ_OLD 0x9100 /* outer tags before 802.1ad gave them 0x88a8 */
#define MAX_VLAN_TAGS 2
/* RFC 8200's order, with one of mobility, HIP and shim6 at its end, has seven. */
#define MAX_EXTENSION_HEADERS 8

#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140

struct vlan_header {
	__be16 tci;
	__be16 type;
};

/*
 * Own structs, not linux/ip.h: its bit-fields follow the machine that compiles, so a big-endian object made
 * on a little-endian machine would swap version and length.
 */
struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__u8 version_class;
	__u8 class_flow[3];
	__be16 length;
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
};

/* Every kind is at least 8 bytes; offset_flags is the fragment header's. */
struct extension_header {
	__u8 next_header;
	__u8 length;
	__be16 offset_flags;
	__be32 rest;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PACKET_CLASSES);
	__type(key, __u32);
	__type(value, struct packet_tally);
} packet_counters SEC(".maps");

static __always_inline int is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD) ||
	       type == bpf_htons(ETH_P_QINQ_OLD);
}

static __always_inline __u32 classify_ipv4(const void *at, const void *end)
{
	const struct ipv4_header *ip = at;
	__u32 header_length;

	if ((const void *)(ip + 1) > end)
		return PACKET_OTHER;
	header_length = (ip->version_ihl & 0xf) * 4;
	if (ip->version_ihl >> 4 != 4 || header_length < sizeof(*ip) || at + header_length > end)
		return PACKET_OTHER;

	switch (ip->protocol) {
	case IPPROTO_TCP:
		return PACKET_TCP;
	case IPPROTO_UDP:
		return PACKET_UDP;
	case IPPROTO_ICMP:
		return PACKET_ICMP;
	default:
		return PACKET_OTHER;
	}
}

static __always_inline __u32 upper_layer(__u8 next)
{
	switch (next) {
	case IPPROTO_TCP:
		return PACKET_TCP;
	case IPPROTO_UDP:
		return PACKET_UDP;
	case IPPROTO_ICMPV6:
		return PACKET_ICMP;
	default:
		return PACKET_OTHER;
	}
}

static __always_inline __u32 classify_ipv6(const void *at, const void *end)
{
	const struct ipv6_header *ip = at;
	__u8 next;
	int i;

	if ((const void *)(ip + 1) > end || ip->version_class >> 4 != 6)
		return PACKET_OTHER;
	next = ip->next_header;
	at = ip + 1;

	for (i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		const struct extension_header *ext = at;
		__u32 length;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
		case IPPROTO_HIP:
		case IPPROTO_SHIM6:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
			break;
		default:
			return upper_layer(next);
		}
		if ((const void *)(ext + 1) > end)
			return PACKET_OTHER;
		if (next == IPPROTO_FRAGMENT)
			length = 8;
		else if (next == IPPROTO_AH)
			length = (ext->length + 2) * 4;
		else
			length = (ext->length + 1) * 8;
		if (at + length > end)
			return PACKET_OTHER;
		if (next == IPPROTO_FRAGMENT && ext->offset_flags & bpf_htons(0xfff8))
			return upper_layer(ext->next_header);
		next = ext->next_header;
		at += length;
	}
	return upper_layer(next);
}

static __always_inline __u32 classify(const void *data, const void *end)
{
	const struct ethhdr *eth = data;
	const void *at = eth + 1;
	__be16 type;
	int i;

	if (at > end)
		return PACKET_OTHER;
	type = eth->h_proto;
	for (i = 0; i < MAX_VLAN_TAGS && is_vlan(type); i++) {
		const struct vlan_header *tag = at;

		at = tag + 1;
		if (at > end)
			return PACKET_OTHER;
		type = tag->type;
	}
	if (type == bpf_htons(ETH_P_IP))
		return classify_ipv4(at, end);
	if (type == bpf_htons(ETH_P_IPV6))
		return classify_ipv6(at, end);
	return PACKET_OTHER;
}

SEC("xdp")
int xdp_counter(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	__u32 class = classify(data, end);
	struct packet_tally *tally = bpf_map_lookup_elem(&packet_counters, &class);

	/* A row per CPU, and no softirq interrupts another on its CPU: plain additions lose nothing. */
	if (tally) {
		tally->packets++;
		tally->bytes += end - data;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
