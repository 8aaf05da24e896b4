/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What xdp_guard.bpf.c and lib/programs/xdp-guard.ts share. */
#ifndef NODE_EBPF_XDP_GUARD_H
#define NODE_EBPF_XDP_GUARD_H

#define GUARD_RULES 1024

/* The rows of guard_totals. */
enum guard_verdict {
	GUARD_PASSED,
	GUARD_DROPPED,
	GUARD_VERDICTS,
};

/* A prefix of source addresses: IPv6, or IPv4 as ::ffff:a.b.c.d. */
struct guard_prefix {
	__u32 length; /* bits */
	__u8 address[16];
};

struct guard_tally {
	__u64 packets;
	/* Frame lengths as XDP sees them: Ethernet header and tags in the frame included, FCS not. */
	__u64 bytes;
};

/* What a rule passed and dropped, on one CPU. */
struct guard_counts {
	struct guard_tally passed;
	struct guard_tally dropped;
};

/* A token bucket that counts in time: a packet moves `full_at` on by the refill time of one token. */
struct guard_rule {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 full_at;     /* when the bucket is full again, on the monotonic clock */
	__u64 interval_ns; /* between packets; 0: every packet is dropped */
	__u64 depth_ns; /* a packet passes if full_at is at most this far ahead of now: burst - 1 intervals */
};

#endif
