/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What xdp_counter.bpf.c and user space share. */
#ifndef NODE_EBPF_XDP_COUNTER_H
#define NODE_EBPF_XDP_COUNTER_H

/* The rows of packet_counters: every frame adds to exactly one. */
enum packet_class {
	PACKET_TCP,
	PACKET_UDP,
	PACKET_ICMP, /* ICMP over IPv4, ICMPv6 over IPv6 */
	PACKET_OTHER,
	PACKET_CLASSES,
};

struct packet_tally {
	__u64 packets;
	/* Frame lengths as XDP sees them: Ethernet header and tags in the frame included, FCS not. */
	__u64 bytes;
};

#endif
