// SPDX-License-Identifier: Apache-2.0
// Which functions a program brings along: libbpf appends each that is called to the program's own
// instructions (bpf_object__relocate_calls), once per program.
#pragma once
#include "examine/instructions.h"

namespace node_ebpf
{

struct LoadedSize {
	uint32_t functions = 1;
	double instructions = 0;
	// The kernel takes 256 functions (BPF_MAX_SUBPROGS); libbpf 1.5 follows calls down the stack without
	// a bound.
	bool too_many = false;
};

struct CallGraph {
	std::vector<LoadedSize> programs; // as ObjectFile::functions; for subprograms empty
	std::vector<bool> used;           // reached from any program
};

CallGraph FollowCalls(const ObjectFile &file, const Decoded &decoded);

} // namespace node_ebpf
