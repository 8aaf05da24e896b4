// SPDX-License-Identifier: Apache-2.0
// A reader: a whole map of counters in one call, into memory that is bound to it.
#pragma once
#include "base/bound.h"
#include "base/bound_command.h"
#include "map/counters.h"
#include "handles/map.h"
#include "map/walk.h"

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
		return -posix_memalign(reinterpret_cast<void **>(&data), 64, size ? size : 1);
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
	ReadPath path = ReadPath::kLookup;
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
	__attribute__((always_inline)) int Fill(uint8_t *keys, uint32_t *rows);
	// A second one for another thread, in batches for a snapshot: its sums have one writer. -errno.
	int CopyTo(CounterSource *out) const;
	int Prepare();
	void Release();

private:
	int FillByWalk(uint8_t *keys, uint32_t *rows);
	void CopyKeys(uint8_t *keys, uint32_t rows) const;

	// What reads the map in one call: a snapshot's program, or the batch that is a whole array.
	BoundCommand command_;
	bool whole_array_ = false;
	uint32_t cursor_ = 0; // where the batch ended: the kernel wants to write it
};

inline int CounterSource::Fill(uint8_t *keys, uint32_t *rows)
{
	if (path == ReadPath::kMmap) {
		*rows = shape.max_entries;
		return 0;
	}
	if (path == ReadPath::kSnapshot) {
		int error = command_.Run();
		if (error)
			return error;
		*rows = command_.attr.test.retval;
		if (*rows > capacity)
			return -ENOSPC;
		if (key_area && keys)
			CopyKeys(keys, *rows);
		return 0;
	}
	if (whole_array_) {
		command_.attr.batch.keys = reinterpret_cast<uintptr_t>(keys ? keys : own_keys.data);
		command_.attr.batch.count = *rows = shape.max_entries;
		return command_.LookupBatch();
	}
	return FillByWalk(keys, rows);
}

struct ReaderState : Numbered<ReaderState> {
	using Numbered::Numbered;

	CounterSource source;
	BoundMemory keys;
	BoundMemory values;
	BoundMemory status; // int32: whether a value was not exact, rows
	bool busy = false;
	bool closed = false;
};

// readCounters(number)
void DefineReaderFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
