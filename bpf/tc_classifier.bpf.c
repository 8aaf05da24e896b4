// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts every packet that enters or leaves an interface, by class and by flow, and leaves the decision to
 * the next program.
 *
 * Packets and bytes are counted as on the wire. A packet that the kernel carries as one, and that a card or
 * the driver's software cuts into segments (GSO), or that was merged on arrival (GRO), counts as its
 * segments, each with its own headers. Bytes count from the Ethernet header on, without FCS; a VLAN tag that
 * the kernel keeps beside the frame is four bytes.
 *
 * A packet has a flow if its headers up to and including the IP header are whole. For IPv6 the extension
 * headers belong to the IP header. The ports are the first four bytes behind it, for the protocols that have
 * ports; they are 0 if those bytes are not whole, and in every later fragment, which has none. IP's own
 * length field and checksum are not checked. Everything else (ARP, a third VLAN tag, an extension header
 * chain longer than the bound, a header that is cut off or contradicts itself) is in class OTHER and has no
 * flow.
 *
 * Headers are read by bpf_skb_load_bytes(): a driver may leave any of them outside the linear part.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "packet.bpf.h"
#include "tc_classifier.h"
#include "tc_flows.bpf.h"

#define VLAN_TAG 4
#define UDP_HEADER 8
#define SCTP_HEADER 12

/* 0 for an interface without an Ethernet header (tun, WireGuard, IP tunnels, PPP): packets begin with IP. */
const volatile __u32 ethernet = 1;
const volatile __u32 rules;
/* Whether any class has a mark. */
const volatile __u32 marking;
const volatile struct class_mark marks[TC_CLASSES];

/* Class 0 ingress, class 0 egress, class 1 ingress, and so on. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TC_CLASSES *TC_DIRECTIONS);
	__type(key, __u32);
	__type(value, struct class_tally);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct class_key);
	__type(value, __u32);
} class_rules SEC(".maps");

/* A packet's headers, as classes and flows need them. */
struct packet {
	struct flow_key key;
	__u32 transport; /* offset of the header behind IP */
	int has_flow;
	int later_fragment;
};

static __always_inline int has_ports(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return 1;
	default:
		return 0;
	}
}

static __always_inline void parse_ipv4(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv4_header ip;
	__u32 header_length;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return;
	header_length = (ip.version_ihl & 0xf) * 4;
	if (ip.version_ihl >> 4 != 4 || header_length < sizeof(ip) || at + header_length > skb->len)
		return;
	__builtin_memcpy(packet->key.source, &ip.source, sizeof(ip.source));
	__builtin_memcpy(packet->key.destination, &ip.destination, sizeof(ip.destination));
	packet->key.protocol = ip.protocol;
	packet->key.version = 4;
	packet->later_fragment = (ip.fragment & bpf_htons(0x1fff)) != 0;
	packet->transport = at + header_length;
	packet->has_flow = 1;
}

static __always_inline void parse_ipv6(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv6_header ip;
	__u8 next;
	int i;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version_class >> 4 != 6)
		return;
	next = ip.next_header;
	at += sizeof(ip);

	for (i = 0; i < MAX_EXTENSION_HEADERS && is_extension(next); i++) {
		struct extension_header ext;
		__u32 length;

		if (bpf_skb_load_bytes(skb, at, &ext, sizeof(ext)))
			return;
		length = extension_length(next, &ext);
		if (at + length > skb->len)
			return;
		packet->later_fragment = next == IPPROTO_FRAGMENT && ext.offset_flags & bpf_htons(0xfff8);
		next = ext.next_header;
		at += length;
		/* Data from the middle of the packet follows, not a header. */
		if (packet->later_fragment)
			break;
	}
	if (!packet->later_fragment && is_extension(next))
		return;
	__builtin_memcpy(packet->key.source, &ip.source, sizeof(ip.source));
	__builtin_memcpy(packet->key.destination, &ip.destination, sizeof(ip.destination));
	packet->key.protocol = next;
	packet->key.version = 6;
	packet->transport = at;
	packet->has_flow = 1;
}

/*
 * The kernel keeps the outer tag beside the frame: on ingress always, on egress if the device inserts it.
 */
static __always_inline __be16 parse_tags(struct __sk_buff *skb, __u32 *at)
{
	struct vlan_header tag;
	__be16 type;
	int i;

	if (bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(type), &type, sizeof(type)))
		return 0;
	*at = ETH_HLEN;
	for (i = skb->vlan_present ? 1 : 0; i < MAX_VLAN_TAGS && is_vlan(type); i++) {
		if (bpf_skb_load_bytes(skb, *at, &tag, sizeof(tag)))
			return 0;
		*at += VLAN_TAG;
		type = tag.type;
	}
	return type;
}

static __always_inline __be16 parse_first_byte(struct __sk_buff *skb)
{
	__u8 version;

	if (bpf_skb_load_bytes(skb, 0, &version, sizeof(version)))
		return 0;
	return version >> 4 == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

/*
 * The headers of most packets: one after another, without options, in the linear part. Reading them takes no
 * helper call.
 */
struct plain_headers {
	struct ethernet_header ethernet;
	struct ipv4_header ip;
	__be16 source_port;
	__be16 destination_port;
} __attribute__((packed, aligned(2)));

static __always_inline int parse_plain(struct __sk_buff *skb, struct packet *packet)
{
	const struct plain_headers *headers = (void *)(long)skb->data;

	if (!ethernet || (void *)(headers + 1) > (void *)(long)skb->data_end)
		return 0;
	if (headers->ethernet.type != bpf_htons(ETH_P_IP) || headers->ip.version_ihl != 0x45 ||
	    headers->ip.fragment & bpf_htons(0x1fff) || !has_ports(headers->ip.protocol))
		return 0;
	__builtin_memcpy(packet->key.source, &headers->ip.source, 4);
	__builtin_memcpy(packet->key.destination, &headers->ip.destination, 4);
	packet->key.source_port = headers->source_port;
	packet->key.destination_port = headers->destination_port;
	packet->key.protocol = headers->ip.protocol;
	packet->key.version = 4;
	packet->transport = ETH_HLEN + sizeof(headers->ip);
	packet->has_flow = 1;
	return 1;
}

static __always_inline void parse(struct __sk_buff *skb, struct packet *packet)
{
	__u32 at = 0;
	__be16 type;

	if (parse_plain(skb, packet))
		return;
	type = ethernet ? parse_tags(skb, &at) : parse_first_byte(skb);
	if (type == bpf_htons(ETH_P_IP))
		parse_ipv4(skb, at, packet);
	else if (type == bpf_htons(ETH_P_IPV6))
		parse_ipv6(skb, at, packet);
	/* Ports that are cut off read as 0. */
	if (packet->has_flow && !packet->later_fragment && has_ports(packet->key.protocol))
		bpf_skb_load_bytes(skb, packet->transport, &packet->key.source_port, 4);
}

/*
 * The length of the headers that every segment repeats. The inner headers of a tunnel are not known: they
 * count once, as in the kernel itself (net/core/dev.c, qdisc_pkt_len_init).
 */
static __always_inline __u32 repeated(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 offset;

	if (!packet->has_flow)
		return 0;
	switch (packet->key.protocol) {
	case IPPROTO_TCP:
		if (bpf_skb_load_bytes(skb, packet->transport + 12, &offset, sizeof(offset)))
			return packet->transport;
		return packet->transport + (offset >> 4) * 4;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return packet->transport + UDP_HEADER;
	case IPPROTO_SCTP:
		return packet->transport + SCTP_HEADER;
	default:
		return packet->transport;
	}
}

static __always_inline struct class_tally on_the_wire(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 tag = skb->vlan_present ? VLAN_TAG : 0;
	struct class_tally wire = {.packets = 1, .bytes = skb->len + tag};
	__u32 segments = skb->gso_segs, size = skb->gso_size, headers;

	if (segments <= 1 && !size)
		return wire;
	headers = repeated(skb, packet);
	/* The segments of a packet from a guest have not been counted yet (SKB_GSO_DODGY). */
	if (!segments && skb->len > headers)
		segments = (skb->len - headers + size - 1) / size;
	if (segments > 1) {
		wire.packets = segments;
		wire.bytes += (__u64)(segments - 1) * (headers + tag);
	}
	return wire;
}

static __always_inline __u32 class_by_port(__u8 protocol, __be16 port)
{
	struct class_key key = {.protocol = protocol, .port = port};
	__u32 *class = bpf_map_lookup_elem(&class_rules, &key);

	return class ? *class : CLASS_OTHER;
}

/* The destination port decides before the source port: answers are in the class of their service. */
static __always_inline __u32 classify(const struct packet *packet)
{
	const struct flow_key *key = &packet->key;
	__u32 class;

	if (!rules || !packet->has_flow || (!key->source_port && !key->destination_port))
		return CLASS_OTHER;
	class = class_by_port(key->protocol, key->destination_port);
	return class != CLASS_OTHER ? class : class_by_port(key->protocol, key->source_port);
}

static __always_inline void count_class(__u32 class, __u32 direction, const struct class_tally *wire)
{
	__u32 row = class * TC_DIRECTIONS + direction;
	struct class_tally *tally = bpf_map_lookup_elem(&classes, &row);

	if (!tally) { /* a rule named a class that does not exist */
		row = CLASS_OTHER * TC_DIRECTIONS + direction;
		tally = bpf_map_lookup_elem(&classes, &row);
	}
	/* A row per CPU, and softirqs of a CPU do not interrupt each other: plain additions lose nothing. */
	if (tally) {
		tally->packets += wire->packets;
		tally->bytes += wire->bytes;
	}
}

static __always_inline void mark(struct __sk_buff *skb, __u32 class)
{
	/* Without this the compiler compares one register and uses another, without a bound. */
	barrier_var(class);
	class &= TC_CLASSES - 1;
	if (marks[class].set)
		skb->priority = marks[class].priority;
}

static __always_inline int handle(struct __sk_buff *skb, __u32 direction)
{
	struct packet packet = {};
	struct class_tally wire;
	__u32 class;

	parse(skb, &packet);
	wire = on_the_wire(skb, &packet);
	class = classify(&packet);
	count_class(class, direction, &wire);
	if (packet.has_flow)
		count_flow(&packet.key, direction, &wire);
	if (marking && class < TC_CLASSES)
		mark(skb, class);
	return TC_ACT_UNSPEC; /* TCX_NEXT is the same number */
}

SEC("tc")
int tc_ingress(struct __sk_buff *skb)
{
	return handle(skb, TC_INGRESS);
}

SEC("tc")
int tc_egress(struct __sk_buff *skb)
{
	return handle(skb, TC_EGRESS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
