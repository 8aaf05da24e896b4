// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "btf/types.h"

#include <linux/bpf.h> // before relo_core.h, which would take it for C
#include <string_view>
#include <unordered_map>

struct btf_type;

extern "C" {
#include <relo_core.h> // libbpf's own, not its interface: the library that it belongs to is linked statically
}

namespace node_ebpf
{

// The types of a kernel by name, as CO-RE looks for them: `struct task_struct___v2` is a task_struct.
class KernelTypes
{
public:
	// 0, or a negative errno; `words` says more where there is more to say.
	int Open(const std::string &path, std::string *words);

	// The candidates for a local type, as libbpf's bpf_core_add_cands() finds them: in the kernel, and
	// where it has none, in its modules.
	std::vector<struct bpf_core_cand> Candidates(const struct btf *local, uint32_t id);

private:
	using Index = std::unordered_map<std::string_view, std::vector<struct bpf_core_cand>>;

	static void Add(const struct btf *btf, uint32_t first, Index *index);
	void OpenModules();
	static void Find(const Index &index, const struct btf_type *type, std::string_view name,
	                 std::vector<struct bpf_core_cand> *out);

	bool running_ = false; // the kernel that this runs on, whose modules are beside it
	bool modules_opened_ = false;
	BtfPointer kernel_;
	std::vector<BtfPointer> modules_; // after kernel_, which they point into
	Index types_, module_types_;
};

} // namespace node_ebpf
