/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The call that each thread is inside, and when it began: in a hash by thread, and if possible in a lane of
 * the thread, which is found without a helper. A thread's lane_key says which lane is its own.
 */
#ifndef NODE_EBPF_SYSCALL_THREADS_BPF_H
#define NODE_EBPF_SYSCALL_THREADS_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "syscall_latency.h"

/*
 * The key is tgid << 32 | tid, in the initial PID namespace. An entry stays until its thread exits: creating
 * and deleting one for each call would take longer than everything else.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct started_call);
} started SEC(".maps");

/*
 * A thread in `started` keeps its calls here, except the first, if no other thread has the lane. Indexing an
 * array takes a fifth of the time of a lookup in a hash.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LANES);
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

/*
 * The owner of each lane. Only one insertion succeeds, even on kernels without an atomic exchange (before
 * 5.12), and the lock of the hash bucket orders the writes of one owner before those of the next.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768); /* as `started` */
	__type(key, __u32);
	__type(value, __u32);
} lane_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lost_calls);
} lost SEC(".maps");

static __always_inline void lose(bool had_room)
{
	__u32 zero = 0;
	struct lost_calls *calls = bpf_map_lookup_elem(&lost, &zero);

	if (calls)
		__sync_fetch_and_add(had_room ? &calls->no_return : &calls->no_room, 1);
}

/* The lane of a thread, and the mark of its owner: no other thread has both. */
struct lane_key {
	__u32 index;
	__u32 owner;
};

static __always_inline struct lane_key lane_key_of_tid(__u32 tid)
{
	return (struct lane_key){tid % LANES, tid};
}

static __always_inline struct lane *lane_at(__u32 index)
{
	return bpf_map_lookup_elem(&lanes, &index);
}

/* Takes a lane for the next calls of a thread in `started`. */
static __always_inline void take_lane(__u64 thread, struct lane_key key, struct lane *lane)
{
	struct started_call *call = bpf_map_lookup_elem(&started, &thread);
	__u32 tid = thread;

	if (!call || bpf_map_update_elem(&lane_owners, &key.index, &tid, BPF_NOEXIST))
		return;
	call->lane = key.index + 1;
	lane->owner = key.owner;
}

static __always_inline void begin_call(__u32 row, struct lane_key key)
{
	struct started_call *call, first = {.row = row};
	struct lane *lane = lane_at(key.index);
	__u64 thread, now;

	if (!lane)
		return;
	now = bpf_ktime_get_ns();
	if (lane->owner == key.owner) {
		/* A thread is inside one call at a time: the end of the previous one was not seen. */
		if (lane->ns)
			lose(true);
		lane->row = row;
		lane->ns = now;
		return;
	}
	thread = bpf_get_current_pid_tgid();
	call = bpf_map_lookup_elem(&started, &thread);
	if (call) {
		if (call->ns)
			lose(true);
		call->row = row;
		call->ns = now;
		return;
	}
	first.ns = now;
	if (bpf_map_update_elem(&started, &thread, &first, BPF_ANY))
		lose(false);
	else
		take_lane(thread, key, lane);
}

static __always_inline __u64 take_beginning(__u64 *ns, __u32 began_as, __u32 row)
{
	__u64 began = *ns;

	*ns = 0;
	if (!began || began_as == row)
		return began;
	lose(true);
	return 0;
}

/* Returns when the call that ends now began, or 0 if it is not of `row` or its beginning was not seen. */
static __always_inline __u64 end_call(__u32 row, struct lane_key key)
{
	struct lane *lane = lane_at(key.index);
	struct started_call *call;
	__u64 thread;

	if (lane && lane->owner == key.owner && lane->ns)
		return take_beginning(&lane->ns, lane->row, row);
	/* Also taken by the first call of a thread that has a lane by now. */
	thread = bpf_get_current_pid_tgid();
	call = bpf_map_lookup_elem(&started, &thread);
	return call ? take_beginning(&call->ns, call->row, row) : 0;
}

/* Removes a thread that is gone, for both flavours: its entries would take up room for ever. */
static __always_inline void forget(__u64 thread)
{
	struct started_call *call = bpf_map_lookup_elem(&started, &thread);
	struct lane *lane;
	__u32 index;

	if (!call)
		return;
	/* The kernel limits kretprobe instances: of more threads inside a call, some ends are not seen. */
	if (call->ns)
		lose(true);
	index = call->lane - 1;
	bpf_map_delete_elem(&started, &thread);
	lane = lane_at(index);
	if (!lane)
		return;
	if (lane->ns)
		lose(true);
	lane->ns = 0;
	lane->owner = 0;
	bpf_map_delete_elem(&lane_owners, &index);
}

#endif
