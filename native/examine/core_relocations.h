// SPDX-License-Identifier: Apache-2.0
// CO-RE relocations held against a kernel's BTF, by libbpf's own resolution: what it would do at load,
// without the load.
#pragma once
#include "btf/ext.h"
#include "examine/flow.h"

namespace node_ebpf
{

// Where a relocation does not work out. `level` of certainty is in `reach`.
struct CoreDefect {
	// core-invalid: libbpf cannot make sense of it. core-ambiguous: the kernel's types contradict each
	// other. core-type-missing, core-field-missing: the instruction would be one that the verifier
	// refuses.
	const char *rule;
	uint32_t function;
	uint32_t instruction;
	std::string type;  // "struct task_struct"
	std::string field; // "se.vruntime"; empty for a type
	std::string words; // libbpf's
	Reach reach;
};

// Access strings, which libbpf 1.5 takes numbers from and uses unchecked where they are negative
// (bpf_core_parse_spec): no object with one of these defects may be loaded.
void CheckAccessStrings(const ObjectFile &file, const struct btf *local, const BtfExt &ext,
                        std::vector<CoreDefect> *out);

// Against the BTF file at `kernel`; modules' BTF beside it counts too where that is the running kernel's.
// 0, or the negative errno of reading it. `unresolved` counts those that would take too long.
int ResolveCoreRelocations(const ObjectFile &file, const Decoded &decoded, const std::vector<bool> &used,
                           const struct btf *local, const BtfExt &ext, const std::string &kernel,
                           std::vector<CoreDefect> *out, size_t *unresolved);

} // namespace node_ebpf
