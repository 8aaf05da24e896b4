// SPDX-License-Identifier: Apache-2.0
#include "base/arguments.h"
#include "handles/map.h"
#include "base/options.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>

namespace node_ebpf
{

namespace
{

struct Spec {
	enum bpf_map_type type;
	std::string name;
	uint32_t key_size = 0, value_size = 0, max_entries = 0, flags = 0;
	uint64_t extra = 0;
};

bool ReadSpec(Napi::Env env, Napi::Object object, Spec *out)
{
	uint32_t type, extra;
	if (!ReadUint32(env, object.Get("typeNumber"), "type", &type) ||
	    !ReadString(env, object.Get("name"), "name", &out->name) ||
	    !ReadUint32(env, object.Get("keySize"), "keySize", &out->key_size) ||
	    !ReadUint32(env, object.Get("valueSize"), "valueSize", &out->value_size) ||
	    !ReadUint32(env, object.Get("maxEntries"), "maxEntries", &out->max_entries) ||
	    !ReadUint32(env, object.Get("flags"), "flags", &out->flags) ||
	    !ReadUint32(env, object.Get("extra"), "extra", &extra))
		return false;
	out->type = static_cast<enum bpf_map_type>(type);
	out->extra = extra;
	return true;
}

// Local storage is refused without BTF for its key and value (kernel/bpf/bpf_local_storage.c).
bool NeedsBtf(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_SK_STORAGE || type == BPF_MAP_TYPE_INODE_STORAGE ||
	       type == BPF_MAP_TYPE_TASK_STORAGE || type == BPF_MAP_TYPE_CGRP_STORAGE;
}

struct Btf {
	struct btf *btf = nullptr;
	int key = 0, value = 0;
	~Btf() { btf__free(btf); }
};

// An int for the key, and an array of bytes in a struct for the value.
int MakeBtf(uint32_t value_size, Btf *out)
{
	out->btf = btf__new_empty();
	if (!out->btf)
		return -errno;
	out->key = btf__add_int(out->btf, "int", 4, BTF_INT_SIGNED);
	int byte = btf__add_int(out->btf, "unsigned char", 1, 0);
	int index = btf__add_int(out->btf, "unsigned int", 4, 0);
	int bytes = btf__add_array(out->btf, index, byte, value_size);
	out->value = btf__add_struct(out->btf, "value", value_size);
	if (out->key < 0 || bytes < 0 || out->value < 0)
		return -ENOMEM;
	int error = btf__add_field(out->btf, "bytes", bytes, 0, 0);
	return error ? error : btf__load_into_kernel(out->btf);
}

int Create(const Spec &spec, int inner_fd, std::string *operation)
{
	Zeroed<struct bpf_map_create_opts> opts;
	opts.map_flags = spec.flags;
	opts.map_extra = spec.extra;
	if (inner_fd >= 0)
		opts.inner_map_fd = static_cast<uint32_t>(inner_fd);
	Btf btf;
	if (NeedsBtf(spec.type)) {
		int error = MakeBtf(spec.value_size, &btf);
		if (error) {
			*operation = "btf__load_into_kernel";
			return error;
		}
		opts.btf_fd = static_cast<uint32_t>(btf__fd(btf.btf));
		opts.btf_key_type_id = static_cast<uint32_t>(btf.key);
		opts.btf_value_type_id = static_cast<uint32_t>(btf.value);
	}
	*operation = "bpf_map_create";
	int fd = bpf_map_create(spec.type, spec.name.empty() ? nullptr : spec.name.c_str(), spec.key_size,
	                        spec.value_size, spec.max_entries, &opts);
	return fd < 0 ? -errno : fd;
}

// createMap(spec, inner?): `inner` is the spec of what a map of maps holds.
Napi::Value CreateMap(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!info[0].IsObject() || (!IsAbsent(env, info[1]) && !info[1].IsObject())) {
		Napi::TypeError::New(env, "Expected an object").ThrowAsJavaScriptException();
		return env.Undefined();
	}
	Spec spec, inner;
	if (!ReadSpec(env, info[0].As<Napi::Object>(), &spec))
		return env.Undefined();
	std::string operation;
	UniqueFd inner_fd;
	if (!IsAbsent(env, info[1])) {
		if (!ReadSpec(env, info[1].As<Napi::Object>(), &inner))
			return env.Undefined();
		int fd = Create(inner, -1, &operation);
		if (fd < 0)
			return Failure::FromErrno(fd, operation + " (inner)").Throw(env);
		inner_fd = UniqueFd(fd);
	}
	int fd = Create(spec, inner_fd.get(), &operation);
	if (fd < 0)
		return Failure::FromErrno(fd, operation).Throw(env);
	return Map::New(env, UniqueFd(fd), spec.name);
}

// mapTypes(): the names of all that libbpf knows, by number.
Napi::Value MapTypes(const Napi::CallbackInfo &info)
{
	Napi::Array result = Napi::Array::New(info.Env());
	for (uint32_t type = 0;; type++) {
		const char *name = libbpf_bpf_map_type_str(static_cast<enum bpf_map_type>(type));
		if (!name)
			return result;
		result.Set(type, name);
	}
}

} // namespace

void DefineMapCreation(Napi::Env env, Napi::Object exports)
{
	exports.Set("createMap", Napi::Function::New(env, CreateMap, "createMap"));
	exports.Set("mapTypes", Napi::Function::New(env, MapTypes, "mapTypes"));
	exports.Set("detachBuffer", Napi::Function::New(env, DetachBuffer, "detachBuffer"));
}

} // namespace node_ebpf
