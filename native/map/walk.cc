// SPDX-License-Identifier: Apache-2.0
#include "map/walk.h"

#include "base/options.h"

#include <algorithm>
#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>

namespace node_ebpf
{

namespace
{

constexpr int kNotSupported =
        524; // ENOTSUPP: the kernel's own, for an operation that a map type does not have

} // namespace

bool HasBatch(int fd)
{
	uint8_t nothing[8];
	uint32_t count = 0;
	Zeroed<struct bpf_map_batch_opts> opts;
	return bpf_map_lookup_batch(fd, nullptr, nothing, nothing, nothing, &count, &opts) != -kNotSupported;
}

MapWalk::MapWalk(const MapShape &shape, bool batch, bool take)
    : shape_(shape), batch_(batch), take_(take), cursor_(std::max<size_t>(shape.key_size, 8)),
      next_(cursor_.size())
{
}

void MapWalk::Rewind()
{
	started_ = false;
	done_ = false;
	steps_ = 0;
	seen_.clear();
}

bool MapWalk::IsArray() const
{
	return shape_.type == BPF_MAP_TYPE_ARRAY || shape_.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

int MapWalk::Next(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count)
{
	*count = 0;
	if (done_ || capacity == 0)
		return 0;
	if (batch_)
		return NextBatch(fd, keys, values, capacity, count);
	return IsArray() && !take_ ? NextIndices(fd, keys, values, capacity, count)
	                           : NextKeys(fd, keys, values, capacity, count);
}

// The end is ENOENT with a valid count. Of an array one call has it all, and the kernel would say so only to
// another.
int MapWalk::NextBatch(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count)
{
	Zeroed<struct bpf_map_batch_opts> opts;
	while (*count < capacity) {
		uint32_t rows = capacity - *count;
		void *in = started_ ? cursor_.data() : nullptr;
		uint8_t *to_keys = keys + static_cast<size_t>(*count) * shape_.key_size;
		uint8_t *to_values = values + static_cast<size_t>(*count) * shape_.slot_size;
		int error =
		        take_ ? bpf_map_lookup_and_delete_batch(fd, in, next_.data(), to_keys, to_values,
		                                                &rows, &opts)
		              : bpf_map_lookup_batch(fd, in, next_.data(), to_keys, to_values, &rows, &opts);
		if (error == -ENOSPC && *count > 0)
			return 0; // the next bucket is for the next call
		if (error && error != -ENOENT)
			return error;
		*count += rows;
		started_ = true;
		cursor_.swap(next_);
		done_ = error == -ENOENT || (IsArray() && rows == shape_.max_entries);
		if (done_ || rows == 0)
			return 0;
	}
	return 0;
}

// The keys of an array are known.
int MapWalk::NextIndices(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count)
{
	while (*count < capacity && steps_ < shape_.max_entries) {
		uint32_t index = static_cast<uint32_t>(steps_++);
		int error = bpf_map_lookup_elem(fd, &index,
		                                values + static_cast<size_t>(*count) * shape_.slot_size);
		if (error && error != -ENOENT)
			return error;
		if (error)
			continue;
		memcpy(keys + static_cast<size_t>(*count) * sizeof index, &index, sizeof index);
		++*count;
	}
	done_ = steps_ >= shape_.max_entries;
	return 0;
}

// A hash starts over when the key that the walk stands on was deleted (kernel/bpf/hashtab.c,
// htab_map_get_next_key): what was given is remembered, and somebody who deletes faster than this walks
// cannot keep it for ever.
int MapWalk::NextKeys(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count)
{
	while (*count < capacity) {
		uint8_t *key = keys + static_cast<size_t>(*count) * shape_.key_size;
		uint8_t *value = values + static_cast<size_t>(*count) * shape_.slot_size;
		int error = bpf_map_get_next_key(fd, started_ ? cursor_.data() : nullptr, next_.data());
		// Local storage has no bound.
		bool endless = shape_.max_entries && steps_++ > 2 * static_cast<uint64_t>(shape_.max_entries);
		if (error == -ENOENT || endless) {
			done_ = true;
			return 0;
		}
		if (error)
			return error;
		started_ = true;
		cursor_.swap(next_);
		if (!IsArray() &&
		    !seen_.emplace(reinterpret_cast<char *>(cursor_.data()), shape_.key_size).second)
			continue;
		error = take_ ? bpf_map_lookup_and_delete_elem(fd, cursor_.data(), value)
		              : bpf_map_lookup_elem(fd, cursor_.data(), value);
		if (error == -ENOENT)
			continue;
		if (error)
			return error;
		memcpy(key, cursor_.data(), shape_.key_size);
		++*count;
		// The key is gone, and the walk would start over from it.
		if (take_)
			started_ = false;
	}
	// Who fills the arrays to the last row need not grow them to learn that this was all.
	done_ = bpf_map_get_next_key(fd, cursor_.data(), next_.data()) == -ENOENT;
	return 0;
}

} // namespace node_ebpf
