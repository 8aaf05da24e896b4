// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts every frame that an interface receives, by protocol, and passes it on.
 *
 * A frame is TCP, UDP or ICMP if the headers up to and including the IP header are whole in the frame and
 * the IP header names that protocol. For IPv6 the extension headers belong to the IP header: each one that is
 * walked must be whole. The TCP, UDP or ICMP header itself is not read: a frame that ends right behind the IP
 * header, a first fragment and every later fragment count alike. IP's own length field, checksum and TTL are
 * not checked either (segments merged by the kernel carry a length of 0): the count is of what arrived, not
 * of what the stack will accept. Everything else is OTHER: ARP, 802.3/LLC, ESP, AH over IPv4, tunnels, the
 * ICMP number of the other IP version, a third VLAN tag, an extension header chain longer than the bound, a
 * header that is cut off or contradicts itself.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "packet.bpf.h"
#include "xdp_counter.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PACKET_CLASSES);
	__type(key, __u32);
	__type(value, struct packet_tally);
} packet_counters SEC(".maps");

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

		if (!is_extension(next))
			return upper_layer(next);
		if ((const void *)(ext + 1) > end)
			return PACKET_OTHER;
		length = extension_length(next, ext);
		if (at + length > end)
			return PACKET_OTHER;
		if (next == IPPROTO_FRAGMENT && ext->offset_flags & bpf_htons(0xfff8))
			return upper_layer(ext->next_header);
		next = ext->next_header;
		at += length;
	}
	return upper_layer(next);
}

static __always_inline __u32 classify(const void *at, const void *end)
{
	__be16 type;

	if (!parse_ethernet(&at, end, &type))
		return PACKET_OTHER;
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

	/* A row per CPU, and softirqs of a CPU do not interrupt each other: plain additions lose nothing. */
	if (tally) {
		tally->packets++;
		tally->bytes += end - data;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
