// SPDX-License-Identifier: Apache-2.0
// BTF as libbpf parses it, and what libbpf itself does not look at before it follows types from one to the
// next.
#pragma once
#include "base/view.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

struct btf;

namespace node_ebpf
{

struct BtfCloser {
	void operator()(struct btf *btf) const;
};
using BtfPointer = std::unique_ptr<struct btf, BtfCloser>;

// Null with a negative errno in `error`.
BtfPointer ParseBtf(View bytes, int *error);
BtfPointer ParseBtfFile(const std::string &path, const struct btf *base, int *error);

// A type that contains itself, or is nested more than a thousand deep: libbpf 1.5 would follow it for ever
// (skip_mods_and_typedefs) or down the stack (bpf_core_match_member). Its number, and the reason in words.
std::optional<std::string> EndlessType(const struct btf *btf);

// For each type, the members of it and of all that it holds by value; `btf` has no endless type.
std::vector<uint64_t> TypeWeights(const struct btf *btf);

// "struct task_struct", "typedef u64", "type 7"
std::string TypeWords(const struct btf *btf, uint32_t id);

} // namespace node_ebpf
