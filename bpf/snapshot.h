/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What snapshot.bpf.c and lib/map/snapshot.ts share. */
#ifndef NODE_EBPF_SNAPSHOT_H
#define NODE_EBPF_SNAPSHOT_H

#define SNAPSHOT_FIELDS 128

/* An integer in a value. */
struct snapshot_field {
	__u32 offset;
	__u32 size;
	__u32 is_signed;
};

#endif
