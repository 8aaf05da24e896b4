// SPDX-License-Identifier: Apache-2.0
#include "map/counters.h"

#include <cstring>
#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace node_ebpf
{

namespace
{

constexpr uint64_t kExact = uint64_t(1) << 53;

// Loads and stores of a machine word: the kernel writes the same memory.
template <typename Word> Word Load(const uint8_t *at)
{
	Word word;
	memcpy(&word, at, sizeof word);
	return word;
}

uint64_t LoadField(const CounterField &field, const uint8_t *value)
{
	const uint8_t *at = value + field.offset;
	switch (field.size) {
	case 8:
		return Load<uint64_t>(at);
	case 4:
		return field.is_signed ? static_cast<uint64_t>(int64_t(Load<int32_t>(at)))
		                       : Load<uint32_t>(at);
	case 2:
		return field.is_signed ? static_cast<uint64_t>(int64_t(Load<int16_t>(at)))
		                       : Load<uint16_t>(at);
	default:
		return field.is_signed ? static_cast<uint64_t>(int64_t(Load<int8_t>(at))) : Load<uint8_t>(at);
	}
}

struct Doubles {
	double *out;
	bool exact = true;

	void Put(const CounterField &field, uint64_t number)
	{
		if (field.is_signed) {
			int64_t value = static_cast<int64_t>(number);
			exact &= value <= static_cast<int64_t>(kExact) &&
			         value >= -static_cast<int64_t>(kExact);
			*out++ = static_cast<double>(value);
			return;
		}
		exact &= number <= kExact;
		// A signed conversion is one instruction, an unsigned one is a branch and several.
		*out++ = number <= kExact ? static_cast<double>(static_cast<int64_t>(number))
		                          : static_cast<double>(number);
	}
};

struct Integers {
	uint64_t *out;
	void Put(const CounterField &, uint64_t number) { *out++ = number; }
};

template <typename Sink>
void Convert(const CounterLayout &layout, const uint8_t *raw, size_t rows, Sink *sink)
{
	const CounterField *begin = layout.fields.data(), *end = begin + layout.fields.size();
	for (size_t row = 0; row < rows; row++, raw += layout.slot_size) {
		if (layout.per_cpu) {
			for (uint32_t cpu = 0; cpu < layout.cpus; cpu++)
				for (const CounterField *field = begin; field != end; field++)
					sink->Put(*field, LoadField(*field, raw + cpu * layout.stride));
			continue;
		}
		for (const CounterField *field = begin; field != end; field++) {
			uint64_t sum = 0;
			for (uint32_t cpu = 0; cpu < layout.cpus; cpu++)
				sum += LoadField(*field, raw + cpu * layout.stride);
			sink->Put(*field, sum);
		}
	}
}

struct Vector16 {
	typedef uint64_t Words __attribute__((vector_size(16), aligned(8), may_alias));
	typedef double Numbers __attribute__((vector_size(16), aligned(8), may_alias));
};

struct Vector32 {
	typedef uint64_t Words __attribute__((vector_size(32), aligned(8), may_alias));
	typedef double Numbers __attribute__((vector_size(32), aligned(8), may_alias));
};

// A number below 2^52 is the mantissa of 2^52 + number: a whole vector of them in an OR and a subtraction,
// where the instruction set converts one at a time. False, and `out` not to be used, where one is larger.
template <typename Vector>
__attribute__((always_inline)) inline bool ConvertPlain(const uint8_t *raw, size_t count, double *out)
{
	using Words = typename Vector::Words;
	using Numbers = typename Vector::Numbers;
	constexpr size_t kLanes = sizeof(Words) / 8;
	const Words magics = Words{} + 0x4330000000000000; // 2^52
	Words all = {}, more = {};
	size_t i = 0;
	for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
		Words one = *reinterpret_cast<const Words *>(raw + 8 * i);
		Words two = *reinterpret_cast<const Words *>(raw + 8 * (i + kLanes));
		all |= one;
		more |= two;
		*reinterpret_cast<Numbers *>(out + i) =
		        reinterpret_cast<Numbers>(one | magics) - reinterpret_cast<Numbers>(magics);
		*reinterpret_cast<Numbers *>(out + i + kLanes) =
		        reinterpret_cast<Numbers>(two | magics) - reinterpret_cast<Numbers>(magics);
	}
	uint64_t any = 0;
	all |= more;
	for (size_t lane = 0; lane < kLanes; lane++) {
		uint64_t word;
		memcpy(&word, reinterpret_cast<const char *>(&all) + 8 * lane, sizeof word);
		any |= word;
	}
	for (; i < count; i++) {
		uint64_t word = Load<uint64_t>(raw + 8 * i);
		any |= word;
		out[i] = static_cast<double>(static_cast<int64_t>(word));
	}
	return any >> 52 == 0;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) bool ConvertPlainAvx2(const uint8_t *raw, size_t count, double *out)
{
	return ConvertPlain<Vector32>(raw, count, out);
}

// Whether the processor has AVX2 and the kernel saves its registers. Not by __builtin_cpu_supports(): not
// every compiler's library has what that takes.
bool HasAvx2()
{
	constexpr uint32_t kSaved = 6; // XCR0: SSE's and AVX's state
	uint32_t a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
		return false;
	__asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (a & kSaved) == kSaved && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}
#endif

bool PlainToDoubles(const uint8_t *raw, size_t count, double *out)
{
#ifdef __x86_64__
	static const bool avx2 = HasAvx2();
	if (avx2)
		return ConvertPlainAvx2(raw, count, out);
#endif
	return ConvertPlain<Vector16>(raw, count, out);
}

// Rows whose fields are all 64-bit and unsigned, summed over CPUs: integers first, some hundreds at a time,
// then all of them at once. What does not fit is left to Convert().
bool SumsToDoubles(const CounterLayout &layout, const uint8_t *raw, size_t rows, double *out)
{
	constexpr size_t kBlock = 512;
	uint64_t sums[kBlock];
	const CounterField *fields = layout.fields.data();
	const size_t count = layout.fields.size();
	if (count > kBlock)
		return false;
	const size_t rows_at_once = kBlock / count;
	for (size_t row = 0; row < rows;) {
		size_t block = rows - row < rows_at_once ? rows - row : rows_at_once;
		uint64_t *sum = sums;
		for (size_t i = 0; i < block; i++, raw += layout.slot_size, sum += count) {
			for (size_t f = 0; f < count; f++)
				sum[f] = Load<uint64_t>(raw + fields[f].offset);
			for (uint32_t cpu = 1; cpu < layout.cpus; cpu++)
				for (size_t f = 0; f < count; f++)
					sum[f] +=
					        Load<uint64_t>(raw + cpu * layout.stride + fields[f].offset);
		}
		if (!PlainToDoubles(reinterpret_cast<const uint8_t *>(sums), block * count,
		                    out + row * count))
			return false;
		row += block;
	}
	return true;
}

} // namespace

void CounterLayout::Settle()
{
	wide = !per_cpu && !fields.empty();
	plain = cpus == 1 || per_cpu;
	for (size_t i = 0; i < fields.size(); i++) {
		wide &= fields[i].size == 8 && !fields[i].is_signed;
		plain &= fields[i].size == 8 && !fields[i].is_signed && fields[i].offset == 8 * i;
	}
	plain &= 8 * fields.size() == stride && stride * cpus == slot_size;
}

bool ToDoubles(const CounterLayout &layout, const uint8_t *raw, size_t rows, double *out)
{
	if (layout.plain && PlainToDoubles(raw, rows * layout.width(), out))
		return true;
	if (layout.wide && SumsToDoubles(layout, raw, rows, out))
		return true;
	Doubles sink{out};
	Convert(layout, raw, rows, &sink);
	return sink.exact;
}

void ToIntegers(const CounterLayout &layout, const uint8_t *raw, size_t rows, uint64_t *out)
{
	Integers sink{out};
	Convert(layout, raw, rows, &sink);
}

} // namespace node_ebpf
