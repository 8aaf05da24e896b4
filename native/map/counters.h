// SPDX-License-Identifier: Apache-2.0
// From the raw values of a map to numbers: chosen fields, summed over CPUs or not, as doubles or as 64-bit
// integers.
#pragma once
#include "handles/map.h"

#include <cstring>
#include <vector>

namespace node_ebpf
{

struct CounterField {
	uint32_t offset;
	uint8_t size; // 1, 2, 4 or 8 bytes
	bool is_signed;
};

struct CounterLayout {
	std::vector<CounterField> fields;
	size_t stride = 0;    // from one CPU's value to the next
	size_t slot_size = 0; // from one row to the next
	uint32_t cpus = 1;    // values in a row
	bool per_cpu = false; // one number for each CPU, or their sum
	bool plain = false;   // a row is nothing but its numbers: 64 bits, unsigned, in order
	bool wide = false;    // sums of 64 bits, unsigned

	// Fields of a row, those of one CPU after those of another.
	size_t width() const { return fields.size() * (per_cpu ? cpus : 1); }
	// Finds out `plain` and `wide`, when the rest is there.
	void Settle();
};

// Of a few sums of 64 bits, unsigned: what ToDoubles() does for many would take longer to get to. False, and
// `out` not to be used, where they are not such or too many, or one is above 2^53.
inline bool FewToDoubles(const CounterLayout &layout, const uint8_t *raw, size_t rows, double *out)
{
	constexpr size_t kFew = 64;
	const size_t count = layout.fields.size();
	if (!layout.wide || rows * count * layout.cpus > kFew)
		return false;
	const CounterField *fields = layout.fields.data();
	uint64_t any = 0;
	for (size_t row = 0; row < rows; row++, raw += layout.slot_size)
		for (size_t f = 0; f < count; f++) {
			const uint8_t *at = raw + fields[f].offset;
			uint64_t sum = 0;
			for (uint32_t cpu = 0; cpu < layout.cpus; cpu++, at += layout.stride) {
				uint64_t word; // one load: the kernel writes the same memory
				memcpy(&word, at, sizeof word);
				sum += word;
			}
			any |= sum;
			*out++ = static_cast<double>(static_cast<int64_t>(sum));
		}
	return any >> 53 == 0;
}

// Writes `rows` × layout.width() doubles. False where one of them passed 2^53 and is not exact.
bool ToDoubles(const CounterLayout &layout, const uint8_t *raw, size_t rows, double *out);
// The same as integers; signed ones in two's complement.
void ToIntegers(const CounterLayout &layout, const uint8_t *raw, size_t rows, uint64_t *out);

} // namespace node_ebpf
