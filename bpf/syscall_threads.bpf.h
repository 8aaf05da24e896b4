/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which call each thread is inside, and since when: in a hash by thread, and where that is possible in a lane
 * of the thread's own, which is found without a helper. Whose a lane is, the thread's `place` says.
 */
#ifndef NODE_EBPF_SYSCALL_THREADS_BPF_H
#define NODE_EBPF_SYSCALL_THREADS_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "syscall_latency.h"

/*
 * By thread: tgid << 32 | tid, in the initial PID namespace. An entry stays until its thread exits: to make
 * and delete one for each call would take longer than all the rest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct started_call);
} started SEC(".maps");

/*
 * Where a thread that is in `started` keeps its calls but for the first, if no other has that lane. To index
 * an array is a fifth of the time that a lookup in a hash takes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LANES);
	__type(key, __u32);
	__type(value, struct lane);
} lanes SEC(".maps");

/*
 * Whose a lane is. Only one insertion succeeds, on kernels without an atomic exchange too (before 5.12), and
 * the lock of its bucket orders what one owner and the next write to the lane.
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

/* Where the lane of a thread is, and what makes it that thread's: no other has both. */
struct place {
	__u32 index;
	__u32 owner;
};

static __always_inline struct place place_of_tid(__u32 tid)
{
	return (struct place){tid % LANES, tid};
}

static __always_inline struct lane *lane_at(__u32 index)
{
	return bpf_map_lookup_elem(&lanes, &index);
}

/* For the calls to come of a thread that is in `started`. */
static __always_inline void take_lane(__u64 thread, struct place place, struct lane *lane)
{
	struct started_call *call = bpf_map_lookup_elem(&started, &thread);
	__u32 tid = thread;

	if (!call || bpf_map_update_elem(&lane_owners, &place.index, &tid, BPF_NOEXIST))
		return;
	call->lane = place.index + 1;
	lane->owner = place.owner;
}

static __always_inline void begin_call(__u32 row, struct place place)
{
	struct started_call *call, first = {.row = row};
	struct lane *lane = lane_at(place.index);
	__u64 thread, now;

	if (!lane)
		return;
	now = bpf_ktime_get_ns();
	if (lane->owner == place.owner) {
		/* A thread is inside one call at a time: the end of the one before went by unseen. */
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
		take_lane(thread, place, lane);
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

/* When the call began that ends now, or 0, where it is not one of `row` whose beginning was seen. */
static __always_inline __u64 end_call(__u32 row, struct place place)
{
	struct lane *lane = lane_at(place.index);
	struct started_call *call;
	__u64 thread;

	if (lane && lane->owner == place.owner && lane->ns)
		return take_beginning(&lane->ns, lane->row, row);
	/* Also the first call of a thread that has a lane by now. */
	thread = bpf_get_current_pid_tgid();
	call = bpf_map_lookup_elem(&started, &thread);
	return call ? take_beginning(&call->ns, call->row, row) : 0;
}

/* A thread of both flavours that is gone; what it left would take the room of others for ever. */
static __always_inline void forget(__u64 thread)
{
	struct started_call *call = bpf_map_lookup_elem(&started, &thread);
	struct lane *lane;
	__u32 index;

	if (!call)
		return;
	/* Kernels have a bounded number of kretprobes under way: more threads inside a call return unseen. */
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
