/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tc_classifier.bpf.c and user space share. */
#ifndef NODE_EBPF_TC_CLASSIFIER_H
#define NODE_EBPF_TC_CLASSIFIER_H

#define TC_CLASSES 256 /* a power of two; class 0 is for packets that no rule names */
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

/* Ports are in network order in both keys: user space handles them alike on any machine. */
struct class_key {
	__u8 protocol;
	__u8 zero;
	__be16 port;
};

struct flow_key {
	/* IPv4 uses the first four bytes; the others are 0. */
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 version; /* 4 or 6 */
	__u8 direction;
	__u8 zero;
} __attribute__((aligned(8)));

/* Times are of the kernel's monotonic clock, in nanoseconds. */
struct flow {
	struct flow_key key; /* its version is 0 if the place is free */
	__u64 packets;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns; /* up to a tick early */
};

#define FLOW_PLACES 16 /* a power of two */

/* Flows whose keys hash to one set. A copy under its lock (BPF_F_LOCK) has no flow that is half entered. */
struct flow_set {
	struct bpf_spin_lock lock;
	__u32 zero;
	struct flow places[FLOW_PLACES];
};

struct flow_account {
	__u64 created; /* flows that were entered */
	__u64 evicted; /* flows that made room for them */
	/* The last time that this CPU read, and the tick in which it did. */
	__u64 tick;
	__u64 now_ns;
	/* The current packet, if its flow is not in its home place. */
	struct flow_key key;
	struct class_tally wire;
	__u64 hash;
};

struct class_mark {
	__u32 set;
	__u32 priority;
};

#endif
