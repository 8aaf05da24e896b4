// SPDX-License-Identifier: Apache-2.0
#include "btf_types.h"

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

// Depth first, with a stack of its own; each type and each member is looked at once.
std::optional<std::string> EndlessType(const struct btf *btf)
{
	enum : uint32_t { kUnseen = 0, kOpen = UINT32_MAX };
	struct Step {
		uint32_t id, next;
	};
	uint32_t count = btf__type_cnt(btf);
	std::vector<uint32_t> depth(count, kUnseen);
	std::vector<Step> path;
	for (uint32_t root = 1; root < count; root++) {
		if (depth[root] != kUnseen)
			continue;
		path.push_back({root, 0});
		depth[root] = kOpen;
		while (!path.empty()) {
			Step &step = path.back();
			const struct btf_type *type = btf__type_by_id(btf, step.id);
			uint32_t members = ContainedCount(type);
			if (step.next < members) {
				uint32_t id = Contained(type, step.next++);
				if (id == 0 || id >= count || (depth[id] != kUnseen && depth[id] != kOpen))
					continue;
				if (depth[id] == kOpen)
					return TypeWords(btf, id) + " (type " + std::to_string(id) +
					       ") contains itself";
				depth[id] = kOpen;
				path.push_back({id, 0});
				continue;
			}
			uint32_t deepest = 0;
			for (uint32_t i = 0; i < members; i++) {
				uint32_t id = Contained(type, i);
				if (id != 0 && id < count)
					deepest = std::max(deepest, depth[id]);
			}
			if (deepest >= kDeepest)
				return TypeWords(btf, step.id) + " (type " + std::to_string(step.id) +
				       ") is nested more than " + std::to_string(kDeepest) + " deep";
			depth[step.id] = deepest + 1;
			path.pop_back();
		}
	}
	return std::nullopt;
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
