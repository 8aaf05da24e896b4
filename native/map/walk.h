// SPDX-License-Identifier: Apache-2.0
// Walking a whole map, in batches where the kernel has them for its type, and key by key elsewhere.
#pragma once
#include "handles/map.h"

#include <string>
#include <unordered_set>
#include <vector>

namespace node_ebpf
{

// Whether the kernel reads maps of this type in batches: arrays and hashes since 5.6, per-CPU arrays
// since 5.13.
bool HasBatch(int fd);

class MapWalk
{
public:
	// `take` removes what it reads.
	MapWalk(const MapShape &shape, bool batch, bool take);

	// Up to `capacity` rows into `keys` and `values`; `*count` of 0 is the end. -ENOSPC: a bucket of the
	// hash holds more than `capacity`, and nothing was read.
	int Next(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count);
	void Rewind();
	bool done() const { return done_; }

private:
	int NextBatch(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count);
	int NextIndices(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count);
	int NextKeys(int fd, uint8_t *keys, uint8_t *values, uint32_t capacity, uint32_t *count);
	bool IsArray() const;

	MapShape shape_;
	bool batch_;
	bool take_;
	bool started_ = false;
	bool done_ = false;
	uint64_t steps_ = 0;
	std::vector<uint8_t> cursor_; // of a batch: 4 bytes for a hash, else a key; of a walk: the last key
	std::vector<uint8_t> next_;
	std::unordered_set<std::string> seen_;
};

} // namespace node_ebpf
