// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Sums the counters of a map over CPUs, inside the kernel, into an array that user space has mapped: one
 * system call for a whole map (kernel 5.19). BPF_PROG_TEST_RUN runs it and returns the number of rows.
 *
 * At load, `source` is replaced by the map that is read, and `sums` gets the size of its rows: for a hash the
 * key, rounded up to 8 bytes, and then a __u64 for each field. The verifier knows the values of all const
 * volatile variables: loops over fields and CPUs have no tests of them left at run time.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "snapshot.h"

#define no_unroll _Pragma("clang loop unroll(disable)")

const volatile __u32 rows; /* of an array; for a hash, the rows that there is room for */
const volatile __u32 cpus; /* values in a slot */
const volatile __u32 field_count;
const volatile struct snapshot_field fields[SNAPSHOT_FIELDS];
const volatile __u32 key_size; /* of a hash */
/* If all fields are __u64, adjacent and at most four: the offset of the first, and their number. */
const volatile __u32 plain_offset;
const volatile __u32 plain_count;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} source SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
} sums SEC(".maps");

static __always_inline __u64 load_field(const void *value, __u32 index)
{
	const void *at = value + fields[index].offset;
	__u32 size = fields[index].size;

	if (fields[index].is_signed) {
		if (size == 4)
			return (__s64) * (const volatile __s32 *)at;
		if (size == 2)
			return (__s64) * (const volatile __s16 *)at;
		if (size == 1)
			return (__s64) * (const volatile __s8 *)at;
		return *(const volatile __u64 *)at;
	}
	if (size == 4)
		return *(const volatile __u32 *)at;
	if (size == 2)
		return *(const volatile __u16 *)at;
	if (size == 1)
		return *(const volatile __u8 *)at;
	return *(const volatile __u64 *)at;
}

static __always_inline void clear(__u64 *row)
{
	no_unroll for (__u32 i = 0; i < SNAPSHOT_FIELDS && i < field_count; i++) row[i] = 0;
}

static __always_inline void add(__u64 *row, const void *value)
{
	no_unroll for (__u32 i = 0; i < SNAPSHOT_FIELDS && i < field_count; i++) row[i] +=
	        load_field(value, i);
}

/*
 * Straight-line code for the values of most counter maps: the verifier removes the tests of constants, and
 * only loads, additions and stores remain.
 */
static __always_inline void copy_plain(__u64 *row, const void *value)
{
	const __u64 *from = value + plain_offset;

	row[0] = from[0];
	if (plain_count > 1)
		row[1] = from[1];
	if (plain_count > 2)
		row[2] = from[2];
	if (plain_count > 3)
		row[3] = from[3];
}

static __always_inline void add_plain(__u64 *row, const void *value)
{
	const __u64 *from = value + plain_offset;

	row[0] += from[0];
	if (plain_count > 1)
		row[1] += from[1];
	if (plain_count > 2)
		row[2] += from[2];
	if (plain_count > 3)
		row[3] += from[3];
}

static __always_inline void fill(__u64 *row, const void *value)
{
	if (plain_count) {
		copy_plain(row, value);
		return;
	}
	clear(row);
	add(row, value);
}

static __always_inline void add_to(__u64 *row, const void *value)
{
	if (plain_count)
		add_plain(row, value);
	else
		add(row, value);
}

/*
 * `value` is this CPU's; those of the other CPUs are looked up by key. Sums are kept in the row, in map
 * memory: in registers they would be spilled to the stack at each call.
 */
static __always_inline void fill_cpus(__u64 *row, const void *key, const void *value)
{
	__u32 own = bpf_get_smp_processor_id();

	fill(row, value);
	no_unroll for (__u32 cpu = 0; cpu < cpus; cpu++)
	{
		if (cpu == own)
			continue;
		value = bpf_map_lookup_percpu_elem(&source, key, cpu);
		if (value) /* otherwise it was deleted meanwhile */
			add_to(row, value);
	}
}

/*
 * A call by bpf_loop() costs half as much as a plain row, so each call does several rows. The verifier walks
 * the fields and CPUs of each row, which are too many if the rows are not plain.
 */
#define ROWS_AT_ONCE 4

static __always_inline __u32 rows_at_once(void)
{
	return plain_count ? ROWS_AT_ONCE : 1;
}

static __always_inline __u32 calls(void)
{
	return plain_count ? (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE : rows;
}

static long array_rows(__u32 call, void *context)
{
	no_unroll for (__u32 i = 0; i < rows_at_once(); i++)
	{
		__u32 index = call * rows_at_once() + i;
		const void *value = bpf_map_lookup_elem(&source, &index);
		__u64 *row = bpf_map_lookup_elem(&sums, &index);

		if (!value || !row)
			return 1;
		fill(row, value);
	}
	return 0;
}

static long percpu_array_rows(__u32 call, void *context)
{
	no_unroll for (__u32 i = 0; i < rows_at_once(); i++)
	{
		__u32 index = call * rows_at_once() + i;
		const void *value = bpf_map_lookup_elem(&source, &index);
		__u64 *row = bpf_map_lookup_elem(&sums, &index);

		if (!value || !row)
			return 1;
		fill_cpus(row, &index, value);
	}
	return 0;
}

static __always_inline __u64 *keyed_row(const void *key, __u32 *count)
{
	__u32 index = *count, words = key_size / 8, rest = key_size % 8;
	void *row = bpf_map_lookup_elem(&sums, &index);

	*count = index + 1; /* beyond `rows` too: user space then grows the map */
	if (!row)
		return 0;
	no_unroll for (__u32 i = 0; i < words; i++)((__u64 *)row)[i] = ((const __u64 *)key)[i];
	no_unroll for (__u32 i = 0; i < rest; i++)((__u8 *)row)[8 * words + i] =
	        ((const __u8 *)key)[8 * words + i];
	return row + (key_size + 7) / 8 * 8;
}

static long hash_row(void *map, const void *key, void *value, __u32 *count)
{
	__u64 *row = keyed_row(key, count);

	if (row)
		fill(row, value);
	return 0;
}

static long percpu_hash_row(void *map, const void *key, void *value, __u32 *count)
{
	__u64 *row = keyed_row(key, count);

	if (row)
		fill_cpus(row, key, value);
	return 0;
}

SEC("?syscall")
int array(void *context)
{
	bpf_loop(calls(), array_rows, 0, 0);
	return rows;
}

SEC("?syscall")
int percpu_array(void *context)
{
	bpf_loop(calls(), percpu_array_rows, 0, 0);
	return rows;
}

SEC("?syscall")
int hash(void *context)
{
	__u32 count = 0;

	bpf_for_each_map_elem(&source, hash_row, &count, 0);
	return count;
}

SEC("?syscall")
int percpu_hash(void *context)
{
	__u32 count = 0;

	bpf_for_each_map_elem(&source, percpu_hash_row, &count, 0);
	return count;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
