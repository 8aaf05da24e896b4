// SPDX-License-Identifier: Apache-2.0
// All that can be told of an object's bytes without a kernel. Facts alone: what of it is an error, and what
// to do about it, is lib/'s.
#pragma once
#include "btf/ext.h"
#include "btf/types.h"
#include "examine/call_graph.h"
#include "examine/core_relocations.h"
#include "base/log.h"
#include "handles/object.h"

#include <optional>

namespace node_ebpf
{

struct Examination {
	// `kernel_btf`: the file to hold CO-RE relocations against.
	void Run(std::vector<uint8_t> source, const std::optional<std::string> &kernel_btf);

	// The source line of an instruction, where .BTF.ext has it.
	const LineRecord *LineOf(uint32_t function, uint32_t instruction) const;

	// Rules that the file as a whole breaks. With one of them it is not given to libbpf, or libbpf does
	// not open it: `object` is null.
	std::vector<Refusal> refusals;
	bool readable = false; // sections were found: `file` and what follows have what is in them

	std::vector<uint8_t> bytes;
	ObjectFile file;
	Decoded decoded;
	CallGraph calls;
	BtfPointer btf;
	BtfExt btf_ext;
	std::vector<CoreDefect> core_defects;
	int kernel_btf_error = 0;
	size_t core_unresolved = 0;

	ObjectPointer object;
	std::vector<std::string> log; // libbpf's words where it opened the object
	std::vector<LogLine> said;    // and all that no refusal carries, for onLog()

private:
	void Look(std::vector<uint8_t> source, const std::optional<std::string> &kernel_btf);
	void ReadTypes();
	void Open();
};

} // namespace node_ebpf
