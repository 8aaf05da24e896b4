/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packet headers, and the steps of the walk from the Ethernet header on that xdp_counter, xdp_guard and
 * tc_classifier share.
 *
 * The structs replace linux/ip.h and linux/ipv6.h, whose bit-fields follow the byte order of the machine that
 * compiles: a big-endian object made on a little-endian machine would swap version and length.
 *
 * Loops stay in the programs if the programs read differently: xdp_* read packet memory, tc_classifier copies
 * each header with bpf_skb_load_bytes(). The test for a later fragment stays there too: as a function, it
 * made clang 14 spill a register in tc_classifier for every packet.
 */
#ifndef NODE_EBPF_PACKET_BPF_H
#define NODE_EBPF_PACKET_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLAN_TAGS 2
/* The order of RFC 8200 has seven, with one of mobility, HIP and shim6 at its end. */
#define MAX_EXTENSION_HEADERS 8

#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140

/* struct ethhdr of linux/if_ether.h is packed: clang reads its type byte by byte. */
struct ethernet_header {
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__be16 type;
};

struct vlan_header {
	__be16 tci;
	__be16 type;
};

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
	__be32 source[4];
	__be32 destination[4];
};

/* Every extension header has at least 8 bytes; offset_flags is a member of the fragment header. */
struct extension_header {
	__u8 next_header;
	__u8 length;
	__be16 offset_flags;
	__be32 rest;
};

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD) ||
	       type == bpf_htons(ETH_P_QINQ1); /* outer tags before 802.1ad gave them 0x88a8 */
}

/*
 * Moves `*at` from the Ethernet header to the header behind it and at most MAX_VLAN_TAGS tags, and sets
 * `*type` to the EtherType of that header. Returns false if the frame ends before it.
 */
static __always_inline bool parse_ethernet(const void **at, const void *end, __be16 *type)
{
	const struct ethernet_header *ethernet = *at;

	*at = ethernet + 1;
	if (*at > end)
		return false;
	*type = ethernet->type;
	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(*type); i++) {
		const struct vlan_header *tag = *at;

		*at = tag + 1;
		if (*at > end)
			return false;
		*type = tag->type;
	}
	return true;
}

static __always_inline bool is_extension(__u8 next)
{
	switch (next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case IPPROTO_HIP:
	case IPPROTO_SHIM6:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
		return true;
	default:
		return false;
	}
}

/* The length of an extension header in bytes. */
static __always_inline __u32 extension_length(__u8 kind, const struct extension_header *header)
{
	if (kind == IPPROTO_FRAGMENT)
		return 8;
	if (kind == IPPROTO_AH)
		return (header->length + 2) * 4;
	return (header->length + 1) * 8;
}

#endif
