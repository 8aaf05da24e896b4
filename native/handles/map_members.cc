// SPDX-License-Identifier: Apache-2.0
#include "handles/map_members.h"

#include "handles/map.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

constexpr size_t kMost = 1024;
constexpr int kDepth = 8;

class Flattener
{
public:
	explicit Flattener(const struct btf *btf) : btf_(btf) {}

	void Add(uint32_t type_id, const std::string &name, uint32_t offset, int depth)
	{
		int id = btf__resolve_type(btf_, type_id);
		const struct btf_type *type =
		        id < 0 ? nullptr : btf__type_by_id(btf_, static_cast<uint32_t>(id));
		if (!type || depth > kDepth || members.size() >= kMost)
			return;
		if (btf_is_int(type) || btf_is_any_enum(type)) {
			bool is_signed =
			        btf_is_int(type) ? btf_int_encoding(type) & BTF_INT_SIGNED : btf_kflag(type);
			if (type->size <= 8 && (type->size & (type->size - 1)) == 0)
				members.push_back(
				        {name, offset, static_cast<uint8_t>(type->size), is_signed});
		} else if (btf_is_composite(type)) {
			AddComposite(type, name, offset, depth);
		} else if (btf_is_array(type)) {
			const struct btf_array *array = btf_array(type);
			int64_t size = btf__resolve_size(btf_, array->type);
			for (uint32_t i = 0; size > 0 && i < array->nelems && members.size() < kMost; i++)
				Add(array->type, name + "[" + std::to_string(i) + "]",
				    offset + i * static_cast<uint32_t>(size), depth + 1);
		}
	}

	std::vector<Member> members;

private:
	void AddComposite(const struct btf_type *type, const std::string &name, uint32_t offset, int depth)
	{
		const struct btf_member *member = btf_members(type);
		for (uint32_t i = 0; i < btf_vlen(type); i++, member++) {
			uint32_t bits = btf_member_bit_offset(type, i);
			if (btf_member_bitfield_size(type, i) || bits % 8)
				continue;
			const char *own = btf__name_by_offset(btf_, member->name_off);
			std::string full = !own || !*own ? name : name.empty() ? own : name + "." + own;
			Add(member->type, full, offset + bits / 8, depth + 1);
		}
	}

	const struct btf *btf_;
};

} // namespace

std::vector<Member> MembersOf(const struct btf *btf, uint32_t type_id)
{
	Flattener flattener(btf);
	flattener.Add(type_id, "", 0, 0);
	return std::move(flattener.members);
}

// members(): [{ name, offset, size, signed }]. Of a map that came from a pin or an id, the kernel's BTF
// tells, which takes CAP_SYS_ADMIN.
Napi::Value Map::Members(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	if (state_->members.empty()) {
		struct bpf_map_info map_info = {};
		uint32_t length = sizeof map_info;
		int error = bpf_map_get_info_by_fd(fd(), &map_info, &length);
		if (error)
			return Failure::FromErrno(error, "bpf_map_get_info_by_fd").Throw(env);
		if (map_info.btf_id) {
			struct btf *btf = btf__load_from_kernel_by_id(map_info.btf_id);
			if (!btf)
				return Failure::FromErrno(errno, "btf__load_from_kernel_by_id").Throw(env);
			state_->members = MembersOf(btf, map_info.btf_value_type_id);
			btf__free(btf);
		}
	}
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (const Member &member : state_->members) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("name", member.name);
		entry.Set("offset", member.offset);
		entry.Set("size", member.size);
		entry.Set("signed", member.is_signed);
		result.Set(count++, entry);
	}
	return result;
}

} // namespace node_ebpf
