// SPDX-License-Identifier: Apache-2.0
#include "btf/types.h"

#include <algorithm>
#include <bpf/btf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

constexpr uint32_t kDeepest = 1000;

// libbpf takes sizes from the file for errors in places: see OpenObject() in object.cc.
BtfPointer Checked(struct btf *btf, int *error)
{
	if (reinterpret_cast<intptr_t>(btf) > 0)
		return BtfPointer(btf);
	*error = btf || errno == 0 ? -EINVAL : -errno;
	return nullptr;
}

// The types that one holds by value: what it names, is an array of, or has as members. Pointers end it.
uint32_t ContainedCount(const struct btf_type *type)
{
	if (btf_is_mod(type) || btf_is_typedef(type) || btf_is_array(type))
		return 1;
	return btf_is_composite(type) ? btf_vlen(type) : 0;
}

uint32_t Contained(const struct btf_type *type, uint32_t index)
{
	if (btf_is_composite(type))
		return btf_members(type)[index].type;
	return btf_is_array(type) ? btf_array(type)->type : type->type;
}

// Calls `each` for every type after those that it holds, or for one that holds itself; false ends it. Depth
// first with a stack of its own: each type and each member is looked at once.
template <typename Each> void Visit(const struct btf *btf, Each each)
{
	enum class State : uint8_t { kUnseen, kOpen, kDone };
	struct Step {
		uint32_t id, next;
	};
	uint32_t count = btf__type_cnt(btf);
	std::vector<State> states(count, State::kUnseen);
	std::vector<Step> path;
	for (uint32_t root = 1; root < count; root++) {
		if (states[root] != State::kUnseen)
			continue;
		path.push_back({root, 0});
		states[root] = State::kOpen;
		while (!path.empty()) {
			Step &step = path.back();
			const struct btf_type *type = btf__type_by_id(btf, step.id);
			if (step.next < ContainedCount(type)) {
				uint32_t id = Contained(type, step.next++);
				if (id == 0 || id >= count || states[id] == State::kDone)
					continue;
				if (states[id] == State::kOpen) {
					each(id, btf__type_by_id(btf, id), true);
					return;
				}
				states[id] = State::kOpen;
				path.push_back({id, 0});
				continue;
			}
			if (!each(step.id, type, false))
				return;
			states[step.id] = State::kDone;
			path.pop_back();
		}
	}
}

} // namespace

void BtfCloser::operator()(struct btf *btf) const
{
	btf__free(btf);
}

BtfPointer ParseBtf(View bytes, int *error)
{
	if (bytes.size > UINT32_MAX) {
		*error = -E2BIG;
		return nullptr;
	}
	return Checked(btf__new(bytes.data, static_cast<uint32_t>(bytes.size)), error);
}

BtfPointer ParseBtfFile(const std::string &path, const struct btf *base, int *error)
{
	return Checked(btf__parse_split(path.c_str(), const_cast<struct btf *>(base)), error);
}

std::optional<std::string> EndlessType(const struct btf *btf)
{
	std::optional<std::string> endless;
	std::vector<uint32_t> depth(btf__type_cnt(btf));
	Visit(btf, [&](uint32_t id, const struct btf_type *type, bool in_itself) {
		for (uint32_t i = 0; !in_itself && i < ContainedCount(type); i++) {
			if (Contained(type, i) < depth.size())
				depth[id] = std::max(depth[id], depth[Contained(type, i)] + 1);
		}
		if (in_itself || depth[id] > kDeepest)
			endless = TypeWords(btf, id) + " (type " + std::to_string(id) + ") " +
			          (in_itself ? std::string("contains itself")
			                     : "is nested more than " + std::to_string(kDeepest) + " deep");
		return !endless;
	});
	return endless;
}

std::vector<uint64_t> TypeWeights(const struct btf *btf)
{
	constexpr uint64_t kMost = 1 << 30;
	std::vector<uint64_t> weights(btf__type_cnt(btf));
	Visit(btf, [&](uint32_t id, const struct btf_type *type, bool) {
		weights[id] = btf_is_any_enum(type) ? btf_vlen(type) : 0;
		for (uint32_t i = 0; i < ContainedCount(type); i++) {
			uint64_t held = Contained(type, i) < weights.size() ? weights[Contained(type, i)] : 0;
			weights[id] = std::min(weights[id] + held + 1, kMost);
		}
		return true;
	});
	return weights;
}

std::string TypeWords(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);
	const char *name = type ? btf__name_by_offset(btf, type->name_off) : nullptr;
	if (!name || !*name)
		return "type " + std::to_string(id);
	const char *kind = btf_is_struct(type)     ? "struct "
	                   : btf_is_union(type)    ? "union "
	                   : btf_is_any_enum(type) ? "enum "
	                   : btf_is_typedef(type)  ? "typedef "
	                   : btf_is_fwd(type)      ? (btf_kflag(type) ? "union " : "struct ")
	                                           : "";
	return kind + Shown(name);
}

} // namespace node_ebpf
