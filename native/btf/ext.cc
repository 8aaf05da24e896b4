// SPDX-License-Identifier: Apache-2.0
#include "btf/ext.h"

#include <algorithm>
#include <bpf/btf.h>
#include <cstring>

namespace node_ebpf
{

namespace
{

struct Header {
	uint16_t magic;
	uint8_t version, flags;
	uint32_t header_length, func_offset, func_length, line_offset, line_length, core_offset, core_length;
};
constexpr size_t kHeaderWithoutCore = offsetof(Header, core_offset);

constexpr size_t kLongestName = 512;

struct Group {
	uint32_t section_name, records;
};

struct FileLine {
	uint32_t instruction_offset, file_name, text, line_column;
};

void Append(SectionRecords *records, const FileLine &line)
{
	records->lines.push_back({line.instruction_offset / static_cast<uint32_t>(sizeof(struct bpf_insn)),
	                          line.file_name, BPF_LINE_INFO_LINE_NUM(line.line_column)});
}

void Append(SectionRecords *records, const struct bpf_core_relo &relo)
{
	records->relocations.push_back(
	        {relo.insn_off / static_cast<uint32_t>(sizeof(struct bpf_insn)), relo});
}

template <typename Record> void SortByInstruction(std::vector<Record> *records)
{
	std::stable_sort(records->begin(), records->end(),
	                 [](const Record &a, const Record &b) { return a.instruction < b.instruction; });
}

} // namespace

bool BtfExt::Read(View bytes, const struct btf *btf)
{
	Header header = {};
	if (!btf || bytes.size < kHeaderWithoutCore)
		return true;
	memcpy(&header, bytes.data, std::min(bytes.size, sizeof header));
	if (header.magic == __builtin_bswap16(BTF_MAGIC))
		return false;
	if (header.magic != BTF_MAGIC || header.header_length > bytes.size ||
	    header.header_length < kHeaderWithoutCore)
		return true;
	// libbpf 1.5 reads words from behind the header, wherever that ends.
	if (header.header_length % sizeof(uint32_t))
		return false;
	bool complete = ReadGroups<FileLine>(bytes, btf, size_t(header.header_length) + header.line_offset,
	                                     header.line_length);
	if (header.header_length >= sizeof header)
		complete = ReadGroups<struct bpf_core_relo>(bytes, btf,
		                                            size_t(header.header_length) + header.core_offset,
		                                            header.core_length) &&
		           complete;
	for (auto &[name, records] : sections_) {
		SortByInstruction(&records.lines);
		SortByInstruction(&records.relocations);
		relocation_count += static_cast<double>(records.relocations.size());
	}
	return complete;
}

// A record size, then for each section its name, a count and the records. Records may be longer than what
// this knows of them, never shorter.
template <typename Record>
bool BtfExt::ReadGroups(View bytes, const struct btf *btf, size_t offset, size_t length)
{
	uint32_t record_size;
	if (length < sizeof record_size || offset > bytes.size || length > bytes.size - offset)
		return true;
	memcpy(&record_size, bytes.data + offset, sizeof record_size);
	if (record_size < sizeof(Record))
		return true;
	size_t at = offset + sizeof record_size, end = offset + length;
	while (end - at >= sizeof(Group)) {
		Group group;
		memcpy(&group, bytes.data + at, sizeof group);
		at += sizeof group;
		const char *name = btf__str_by_offset(btf, group.section_name);
		if (!name || group.records == 0 || group.records > (end - at) / record_size)
			return true;
		// Suffixes of one long string would be copied for each group.
		if (strnlen(name, kLongestName + 1) > kLongestName)
			return false;
		SectionRecords &records = sections_[name];
		for (uint32_t i = 0; i < group.records; i++, at += record_size) {
			Record record;
			memcpy(&record, bytes.data + at, sizeof record);
			Append(&records, record);
		}
	}
	return true;
}

const SectionRecords *BtfExt::Of(const char *section) const
{
	if (strnlen(section, kLongestName + 1) > kLongestName)
		return nullptr;
	auto found = sections_.find(section);
	return found == sections_.end() ? nullptr : &found->second;
}

} // namespace node_ebpf
