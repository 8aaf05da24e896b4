// SPDX-License-Identifier: Apache-2.0
// A reader: a whole map of counters in one call, into memory that is bound to it.
#pragma once
#include "bound.h"
#include "counters.h"
#include "map.h"
#include "map_walk.h"

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

namespace node_ebpf
{

// A map's memory in this process.
class MappedMemory
{
public:
	MappedMemory() = default;
	~MappedMemory() { Unmap(); }
	MappedMemory(const MappedMemory &) = delete;
	MappedMemory &operator=(const MappedMemory &) = delete;

	// Of an array with BPF_F_MMAPABLE; -errno.
	int Map(int fd, const MapShape &shape, bool writable);
	void Unmap();
	uint8_t *data() const { return static_cast<uint8_t *>(data_); }
	size_t size() const { return size_; }

private:
	void *data_ = nullptr;
	size_t size_ = 0;
};

// Not zeroed, so that what a map does not fill costs no memory; and no abort where there is none to be had.
struct HeapMemory {
	~HeapMemory() { free(data); }
	HeapMemory() = default;
	HeapMemory(const HeapMemory &) = delete;
	HeapMemory &operator=(const HeapMemory &) = delete;
	int Allocate(size_t size)
	{
		Free();
		data = static_cast<uint8_t *>(malloc(size ? size : 1));
		return data ? 0 : -ENOMEM;
	}
	void Free()
	{
		free(data);
		data = nullptr;
	}

	uint8_t *data = nullptr;
};

// Bytes of an mmapable array's memory, whole pages.
size_t MemorySize(const MapShape &shape);

enum class ReadPath { kMmap, kSnapshot, kBatch, kLookup };

// What it takes to read a map, apart from where the numbers go: a sampler's thread has one of its own.
struct CounterSource {
	ReadPath path;
	MapShape shape;
	CounterLayout chosen; // of the map's values
	CounterLayout layout; // of what Fill() leaves in `rows_at`
	uint32_t capacity = 0;
	UniqueFd fd;
	UniqueFd program;    // snapshot: sums into `memory`
	size_t key_area = 0; // snapshot of a hash: bytes before a row's numbers
	MappedMemory memory;
	HeapMemory raw;
	HeapMemory own_keys; // where nobody wants them
	std::optional<MapWalk> walk;
	const uint8_t *rows_at = nullptr;

	// Reads the map. -ENOSPC where it holds more than `capacity` rows. `keys` receives the rows' keys,
	// unless it is null: those of an array are its indices, and are there already.
	int Fill(uint8_t *keys, uint32_t *rows);
	// A second one for another thread, in batches for a snapshot: its sums have one writer. -errno.
	int CopyTo(CounterSource *out) const;
	int Prepare();
	void Release();
};

struct ReaderState {
	CounterSource source;
	BoundMemory keys;
	BoundMemory values;
	BoundMemory status; // int32: whether a value was not exact, rows
	bool busy = false;
	bool closed = false;
};

} // namespace node_ebpf
