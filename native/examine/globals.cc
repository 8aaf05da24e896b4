// SPDX-License-Identifier: Apache-2.0
#include "examine/globals.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <string>

namespace node_ebpf
{

namespace
{

const char *KindOf(const struct btf *btf, uint32_t variable_type, uint32_t size)
{
	int id = btf__resolve_type(btf, variable_type);
	const struct btf_type *type = id < 0 ? nullptr : btf__type_by_id(btf, static_cast<uint32_t>(id));
	// Wider and odd integers, and whatever BTF and the section disagree about, are bytes.
	if (!type || (size != 1 && size != 2 && size != 4 && size != 8))
		return "bytes";
	if (btf_is_int(type) && type->size == size && btf_int_bits(type) == size * 8 &&
	    !btf_int_offset(type)) {
		uint8_t encoding = btf_int_encoding(type);
		return encoding & BTF_INT_BOOL     ? "boolean"
		       : encoding & BTF_INT_SIGNED ? "signed"
		                                   : "unsigned";
	}
	if (btf_is_any_enum(type) && type->size == size)
		return btf_kflag(type) ? "signed" : "unsigned";
	if (btf_is_float(type) && type->size == size && size >= 4)
		return "float";
	return "bytes";
}

bool HoldsGlobals(const std::string &section)
{
	return section.rfind(".data", 0) == 0 || section.rfind(".rodata", 0) == 0 ||
	       section.rfind(".bss", 0) == 0;
}

} // namespace

Napi::Array DescribeGlobals(Napi::Env env, const struct bpf_object *object)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	const struct btf *btf = bpf_object__btf(object);
	for (uint32_t id = 1; btf && id < btf__type_cnt(btf); id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *section =
		        type && btf_is_datasec(type) ? btf__name_by_offset(btf, type->name_off) : nullptr;
		if (!section || !HoldsGlobals(section) || !bpf_object__find_map_by_name(object, section))
			continue;
		const struct btf_var_secinfo *at = btf_var_secinfos(type);
		for (uint16_t i = 0; i < btf_vlen(type); i++, at++) {
			const struct btf_type *variable = btf__type_by_id(btf, at->type);
			// Clang leaves a static variable's place out of BTF, and libbpf fills in those of
			// globals.
			if (!variable || !btf_is_var(variable) ||
			    btf_var(variable)->linkage != BTF_VAR_GLOBAL_ALLOCATED)
				continue;
			const char *name = btf__name_by_offset(btf, variable->name_off);
			if (!name)
				continue;
			Napi::Object entry = Napi::Object::New(env);
			entry.Set("name", name);
			entry.Set("section", section);
			entry.Set("offset", at->offset);
			entry.Set("size", at->size);
			entry.Set("kind", KindOf(btf, variable->type, at->size));
			result.Set(count++, entry);
		}
	}
	return result;
}

} // namespace node_ebpf
