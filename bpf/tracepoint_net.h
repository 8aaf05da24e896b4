/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tracepoint_net.bpf.c and user space share. */
#ifndef NODE_EBPF_TRACEPOINT_NET_H
#define NODE_EBPF_TRACEPOINT_NET_H

enum net_direction {
	NET_RX,
	NET_TX,
};

/* An ifindex is unique only within a namespace. */
struct net_dev_key {
	__u32 ifindex;
	__u32 netns; /* inode number of the namespace */
	__u32 direction;
};

struct net_dev_tally {
	__u64 packets;
	__u64 bytes; /* with the link-layer header (except on lo), without FCS */
};

/* The kernel's TCP states are 1 to 13; a row of tcp_states is old × this + new. */
#define TCP_STATE_SLOTS 16
#define TCP_TRANSITIONS (TCP_STATE_SLOTS * TCP_STATE_SLOTS)

/* The rows of net_counters. */
enum net_counter {
	NET_RETRANSMITS,
	NET_LOST_PACKETS, /* packets: net_dev_stats had no room for their interface */
	NET_LOST_DROPS,   /* dropped packets: drops had no room for their reason */
	NET_STRAY_DROPS,  /* dropped packets that carry nothing that names a namespace */
	NET_COUNTERS,
};

#endif
