// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts the packets that the network stack hands to interfaces and gets from them, the packets that it drops
 * and why, and the state changes of TCP sockets.
 *
 * An sk_buff is a packet: one that GSO or GRO merged counts once, with its length as it is. Software
 * interfaces count alike in /proc/net/dev; a card's driver counts what is on the wire. Packets that bypass
 * the stack (XDP, AF_XDP, packet sockets with PACKET_QDISC_BYPASS) fire no tracepoint.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "tracepoint_net.h"

#define IFF_LOOPBACK 0x8
#define NETDEV_TX_OK 0
#define NO_MAC_HEADER ((__u16)~0U)
#define SKB_DST_PTRMASK ~1UL

/* The fields of the kernel's structs that are read; CO-RE finds their offsets. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device;

struct netdev_name_node {
	struct net_device *dev;
};

struct net_device {
	int ifindex;
	unsigned int flags;
	unsigned short hard_header_len;
	possible_net_t nd_net;
	struct netdev_name_node *name_node;
};

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	int skb_iif;
	__u16 mac_header;
	unsigned char *head;
	unsigned char *data;
};

enum skb_drop_reason {
	SKB_NOT_DROPPED_YET, /* CO-RE compares the names of enums, not their members */
};

/* Their fields show which arguments the tracepoints have. */
struct trace_event_raw_kfree_skb {
	enum skb_drop_reason reason; /* Linux 5.17 */
	void *rx_sk;                 /* Linux 6.11 */
};

struct trace_event_raw_tcp_retransmit_skb {
	int err; /* if absent, only segments that could be sent are traced */
};

#pragma clang attribute pop

/* 0: all of them. */
const volatile __u32 only_netns;
const volatile __u32 only_ifindex;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct net_dev_key);
	__type(value, struct net_dev_tally);
} net_dev_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, __u32); /* enum skb_drop_reason; 0 if the kernel gives none */
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TCP_TRANSITIONS);
	__type(key, __u32);
	__type(value, __u64);
} tcp_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NET_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} net_counters SEC(".maps");

/* Atomic: packets are dropped in process context too, where a softirq of the same CPU may interrupt. */
static __always_inline void count(void *map, __u32 row)
{
	__u64 *counter = bpf_map_lookup_elem(map, &row);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Returns the value of a key, created if missing (another CPU may be first); NULL if there is no room. */
static __always_inline void *lookup_or_make(void *map, const void *key, const void *zero)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	bpf_map_update_elem(map, key, zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, key);
}

static __always_inline bool is_wanted(__u32 netns)
{
	return !only_netns || netns == only_netns;
}

static __always_inline void count_packet(const struct net_device *dev, __u32 direction, __u64 bytes)
{
	static const struct net_dev_tally zero;
	struct net_dev_key key = {
	        .ifindex = dev->ifindex,
	        .netns = dev->nd_net.net->ns.inum,
	        .direction = direction,
	};
	struct net_dev_tally *tally;

	if (!is_wanted(key.netns) || (only_ifindex && key.ifindex != only_ifindex))
		return;
	tally = lookup_or_make(&net_dev_stats, &key, &zero);
	if (!tally) {
		count(&net_counters, NET_LOST_PACKETS);
		return;
	}
	/* A row per CPU, and softirqs are off in both places: plain additions lose nothing. */
	tally->packets++;
	tally->bytes += bytes;
}

/* Ethernet drivers count the link-layer header, the loopback driver only what follows it (loopback_xmit). */
static __always_inline bool counts_header(const struct net_device *dev)
{
	return !(dev->flags & IFF_LOOPBACK);
}

/* Fires after the driver, which may have freed the skb: the length is an argument of the tracepoint. */
SEC("tp_btf/net_dev_xmit")
int BPF_PROG(net_dev_xmit, const struct sk_buff *skb, int rc, const struct net_device *dev,
             unsigned int length)
{
	if (rc == NETDEV_TX_OK)
		count_packet(dev, NET_TX, counts_header(dev) ? length : length - dev->hard_header_len);
	return 0;
}

/* Fires before VLAN tags are taken off and before generic XDP; the link-layer header has been pulled. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(netif_receive_skb, const struct sk_buff *skb)
{
	__u16 mac_header = skb->mac_header;
	__u64 bytes = skb->len;

	if (mac_header != NO_MAC_HEADER && counts_header(skb->dev))
		bytes += skb->data - (skb->head + mac_header);
	count_packet(skb->dev, NET_RX, bytes);
	return 0;
}

/*
 * Returns the device of an skb, or NULL. UDP's and TCP's queues and reassembly keep other data in that field:
 * it is a device if the device's name node points back at it.
 */
static __always_inline const struct net_device *device_of(const struct sk_buff *skb)
{
	const struct net_device *dev = BPF_CORE_READ(skb, dev);

	return dev && BPF_CORE_READ(dev, name_node, dev) == dev ? dev : NULL;
}

static __always_inline __u32 netns_of_device(const struct net_device *dev)
{
	return BPF_CORE_READ(dev, nd_net.net, ns.inum);
}

/* Works for small sockets (TIME_WAIT, requests) too: the field is common to all. */
static __always_inline __u32 netns_of_socket(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline __u32 netns_of_route(const struct sk_buff *skb)
{
	unsigned long dst = BPF_CORE_READ(skb, _skb_refdst) & SKB_DST_PTRMASK;

	return BPF_CORE_READ((const struct dst_entry *)dst, dev, nd_net.net, ns.inum);
}

/* The namespace of a dropped packet, from what it still carries; 0 if nothing names one. */
static __always_inline __u32 netns_of_drop(const __u64 *ctx, const struct net_device *dev)
{
	const struct sk_buff *skb = (const struct sk_buff *)ctx[0];
	__u32 netns = 0;

	if (dev)
		return netns_of_device(dev);
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, rx_sk)) {
		const struct sock *receiver = (const struct sock *)ctx[3];

		if (receiver)
			netns = netns_of_socket(receiver);
	}
	if (!netns)
		netns = netns_of_socket(BPF_CORE_READ(skb, sk));
	if (!netns)
		netns = netns_of_route(skb);
	return netns;
}

/* Without BPF_PROG, which reads every argument: kernels have two, three or four. */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	static const __u64 zero;
	const struct sk_buff *skb = (const struct sk_buff *)ctx[0];
	const struct net_device *dev = device_of(skb);
	__u32 netns = netns_of_drop(ctx, dev);
	__u32 reason = 0;
	__u64 *counter;

	if (!netns) {
		count(&net_counters, NET_STRAY_DROPS);
		return 0;
	}
	if (!is_wanted(netns))
		return 0;
	if (only_ifindex) {
		__u32 ifindex = dev ? BPF_CORE_READ(dev, ifindex) : BPF_CORE_READ(skb, skb_iif);

		if (ifindex != only_ifindex)
			return 0;
	}
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, reason))
		reason = ctx[2];
	counter = lookup_or_make(&drops, &reason, &zero);
	if (counter)
		__sync_fetch_and_add(counter, 1);
	else
		count(&net_counters, NET_LOST_DROPS);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int tcp_retransmit_skb(__u64 *ctx)
{
	const struct sock *sk = (const struct sock *)ctx[0];

	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) && (int)ctx[2] != 0)
		return 0;
	if (is_wanted(sk->__sk_common.skc_net.net->ns.inum))
		count(&net_counters, NET_RETRANSMITS);
	return 0;
}

/* Fires for MPTCP, SCTP and DCCP as well, whose states differ. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, const struct sock *sk, int old_state, int new_state)
{
	if (sk->sk_protocol != IPPROTO_TCP || !is_wanted(sk->__sk_common.skc_net.net->ns.inum))
		return 0;
	count(&tcp_states,
	      (old_state & (TCP_STATE_SLOTS - 1)) * TCP_STATE_SLOTS + (new_state & (TCP_STATE_SLOTS - 1)));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
