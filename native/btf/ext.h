// SPDX-License-Identifier: Apache-2.0
// .BTF.ext: which source line an instruction is of, and which instructions libbpf adapts to the kernel's
// types (Documentation/bpf/btf.rst).
#pragma once
#include "base/view.h"

#include <linux/bpf.h>
#include <unordered_map>

struct btf;

namespace node_ebpf
{

struct LineRecord {
	uint32_t instruction; // of the section
	uint32_t file;        // offset in BTF's strings
	uint32_t line;
};

struct CoreRecord {
	uint32_t instruction;
	struct bpf_core_relo relo;
};

struct SectionRecords {
	std::vector<LineRecord> lines;
	std::vector<CoreRecord> relocations;
};

class BtfExt
{
public:
	// What does not fit is left out: libbpf ignores a .BTF.ext that it cannot read, and says so. False
	// for one that libbpf would read and this does not: its relocations would be unchecked.
	bool Read(View bytes, const struct btf *btf);

	// Records by instruction, each list sorted; null for a section that has none.
	const SectionRecords *Of(const char *section) const;

	double relocation_count = 0;

private:
	template <typename Record>
	bool ReadGroups(View bytes, const struct btf *btf, size_t offset, size_t length);

	std::unordered_map<std::string, SectionRecords> sections_;
};

} // namespace node_ebpf
