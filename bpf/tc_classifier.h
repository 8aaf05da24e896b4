/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tc_classifier.bpf.c and user space share. */
#ifndef NODE_EBPF_TC_CLASSIFIER_H
#define NODE_EBPF_TC_CLASSIFIER_H

#define TC_CLASSES 256 /* a power of two; the first of them is that of what no rule names */
#define CLASS_OTHER 0

enum tc_direction {
	TC_INGRESS,
	TC_EGRESS,
	TC_DIRECTIONS,
};

struct class_tally {
	__u64 packets;
	__u64 bytes;
};

/* Ports are in network order in both keys: user space writes and reads them alike on any machine. */
struct class_key {
	__u8 protocol;
	__u8 zero;
	__be16 port;
};

struct flow_key {
	/* IPv4 takes the first four bytes, the others are 0. */
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 version;
	__u8 direction;
	__u8 zero;
};

/* Times of the kernel's monotonic clock, in nanoseconds. */
struct flow {
	__u64 packets;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns; /* of the first packet in the last tick that had one */
	__u64 tick;
};

struct flow_account {
	/* Flows that were entered; less those that are there, as many were evicted. */
	__u64 created;
	/* Of flows that the map did not take. */
	__u64 missed_packets;
	__u64 missed_bytes;
};

struct class_mark {
	__u32 set;
	__u32 priority;
};

#endif
