// SPDX-License-Identifier: Apache-2.0
#include "map.h"

#include "handle.h"
#include "pin.h"
#include "type_tags.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace node_ebpf
{

namespace
{

bool IsPerCpu(uint32_t type)
{
	switch (type) {
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
		return true;
	default:
		return false;
	}
}

// What BPF_MAP_LOOKUP_ELEM copies out (kernel/bpf/syscall.c, bpf_map_value_size): per-CPU values are rounded
// up to 8 bytes, one for each *possible* CPU; a map of maps or descriptors gives a 4-byte id.
size_t SlotSize(uint32_t type, uint32_t value_size, int possible_cpus)
{
	if (IsPerCpu(type))
		return (static_cast<size_t>(value_size) + 7) / 8 * 8 * static_cast<size_t>(possible_cpus);
	return value_size;
}

struct FdInfo {
	uint64_t memory_bytes = 0;
	bool frozen = false;
};

// The kernel tells a map's memory and whether it is frozen here alone.
FdInfo ReadFdInfo(int fd)
{
	FdInfo result;
	char path[64];
	snprintf(path, sizeof path, "/proc/thread-self/fdinfo/%d", fd);
	FILE *file = fopen(path, "re");
	if (!file)
		return result;
	char line[128];
	while (fgets(line, sizeof line, file)) {
		uint64_t number;
		if (sscanf(line, "memlock: %" SCNu64, &number) == 1)
			result.memory_bytes = number;
		else if (sscanf(line, "frozen: %" SCNu64, &number) == 1)
			result.frozen = number != 0;
	}
	fclose(file);
	return result;
}

std::string TypeName(uint32_t type)
{
	const char *name = libbpf_bpf_map_type_str(static_cast<enum bpf_map_type>(type));
	return name ? name : std::to_string(type);
}

int GetInfo(int fd, struct bpf_map_info *out)
{
	*out = {};
	uint32_t length = sizeof *out;
	return bpf_map_get_info_by_fd(fd, out, &length);
}

Napi::Object ToObject(Napi::Env env, int fd, const struct bpf_map_info &map_info)
{
	FdInfo fd_info = ReadFdInfo(fd);
	Napi::Object result = Napi::Object::New(env);
	result.Set("name", map_info.name);
	result.Set("type", TypeName(map_info.type));
	result.Set("id", map_info.id);
	result.Set("keySize", map_info.key_size);
	result.Set("valueSize", map_info.value_size);
	result.Set("maxEntries", map_info.max_entries);
	result.Set("flags", map_info.map_flags);
	result.Set("btf", map_info.btf_id != 0);
	result.Set("frozen", fd_info.frozen);
	result.Set("memoryBytes", static_cast<double>(fd_info.memory_bytes));
	return result;
}

Napi::Value Maps(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Napi::Array result = Napi::Array::New(env);
	uint32_t id = 0, count = 0;
	int error;
	while ((error = bpf_map_get_next_id(id, &id)) == 0) {
		UniqueFd fd(bpf_map_get_fd_by_id(id));
		struct bpf_map_info map_info;
		// One that went away between its id and its descriptor is not listed.
		if (!fd.valid() && errno == ENOENT)
			continue;
		error = fd.valid() ? GetInfo(fd.get(), &map_info) : -errno;
		if (error)
			break;
		result.Set(count++, ToObject(env, fd.get(), map_info));
	}
	if (error != -ENOENT)
		return Failure::FromErrno(error, "bpf_map_get_next_id").Throw(env);
	return result;
}

Napi::Value MapById(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t id;
	if (!ReadUint32(env, info[0], "id", &id))
		return env.Undefined();
	UniqueFd fd(bpf_map_get_fd_by_id(id));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_map_get_fd_by_id").Throw(env);
	return Map::New(env, std::move(fd), "");
}

Napi::Value PossibleCpus(const Napi::CallbackInfo &info)
{
	int cpus = libbpf_num_possible_cpus();
	if (cpus < 0)
		return Failure::FromErrno(cpus, "libbpf_num_possible_cpus").Throw(info.Env());
	return Napi::Number::New(info.Env(), cpus);
}

napi_value Boolean(napi_env env, bool value)
{
	napi_value result;
	napi_get_boolean(env, value, &result);
	return result;
}

} // namespace

Napi::Function Map::Define(Napi::Env env)
{
	auto raw = [](const char *name, napi_callback method) {
		napi_property_descriptor descriptor = {};
		descriptor.utf8name = name;
		descriptor.method = method;
		descriptor.attributes = napi_default_method;
		return Napi::ClassPropertyDescriptor<Map>(descriptor);
	};
	return DefineClass(env, "NativeMap",
	                   {
	                           raw("getInto", GetInto),
	                           raw("nextKey", NextKey),
	                           InstanceMethod("describe", &Map::Describe),
	                           InstanceMethod("info", &Map::Info),
	                           InstanceMethod("pin", &Map::Pin),
	                           InstanceMethod("close", &Map::Close),
	                   });
}

Napi::Value Map::New(Napi::Env env, UniqueFd fd, std::string name)
{
	return Construct<Map>(env, MapInit{std::move(fd), std::move(name)});
}

Map *Map::FromValue(Napi::Env env, Napi::Value value)
{
	if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kMapTag)) {
		Napi::TypeError::New(env, "Expected a map").ThrowAsJavaScriptException();
		return nullptr;
	}
	Map *map = Unwrap(value.As<Napi::Object>());
	if (!map->fd_.valid()) {
		ThrowClosed(env, "map");
		return nullptr;
	}
	return map;
}

Map::Map(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Map>(info)
{
	Napi::Env env = info.Env();
	MapInit init;
	if (!TakeInit(info, &init))
		return;
	struct bpf_map_info map_info;
	int error = GetInfo(init.fd.get(), &map_info);
	int cpus = libbpf_num_possible_cpus();
	if (error || cpus < 0) {
		Failure::FromErrno(error ? error : cpus,
		                   error ? "bpf_map_get_info_by_fd" : "libbpf_num_possible_cpus")
		        .Throw(env);
		return;
	}
	info.This().As<Napi::Object>().TypeTag(&kMapTag);
	fd_ = std::move(init.fd);
	name_ = init.name.empty() ? map_info.name : std::move(init.name);
	type_ = map_info.type;
	id_ = map_info.id;
	key_size_ = map_info.key_size;
	value_size_ = map_info.value_size;
	max_entries_ = map_info.max_entries;
	flags_ = map_info.map_flags;
	slot_size_ = SlotSize(type_, value_size_, cpus);
}

Map *Map::Receiver(napi_env env, napi_callback_info info, size_t *argc, napi_value *argv)
{
	napi_value self;
	void *map = nullptr;
	if (napi_get_cb_info(env, info, argc, argv, &self, nullptr) != napi_ok ||
	    napi_unwrap(env, self, &map) != napi_ok || !map) {
		napi_throw_type_error(env, "ERR_INVALID_THIS", "Illegal invocation");
		return nullptr;
	}
	if (!static_cast<Map *>(map)->fd_.valid()) {
		ThrowClosed(env, "map");
		return nullptr;
	}
	return static_cast<Map *>(map);
}

// A number is the key where keys are 4 bytes wide, in the machine's own byte order, as the kernel has array
// indices.
bool Map::ReadKey(napi_env env, napi_value value, uint32_t *number, const void **out) const
{
	napi_valuetype type;
	if (key_size_ == sizeof *number && napi_typeof(env, value, &type) == napi_ok && type == napi_number) {
		*out = number;
		return ReadUint32(env, value, "key", number);
	}
	ByteSpan bytes;
	if (!ReadBytes(env, value, "key", key_size_, &bytes))
		return false;
	if (bytes.size != key_size_) {
		std::string message = "Expected " + std::to_string(key_size_) +
		                      " bytes for key but received " + std::to_string(bytes.size);
		napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
		return false;
	}
	*out = bytes.data;
	return true;
}

// getInto(key, out): whether the key was there; `out` then holds one slot.
napi_value Map::GetInto(napi_env env, napi_callback_info info)
{
	size_t argc = 2;
	napi_value argv[2];
	Map *map = Receiver(env, info, &argc, argv);
	uint32_t number;
	const void *key;
	ByteSpan out;
	if (!map || !map->ReadKey(env, argv[0], &number, &key) ||
	    !ReadBytes(env, argv[1], "out", map->slot_size_, &out))
		return nullptr;
	int error = bpf_map_lookup_elem(map->fd_.get(), key, out.data);
	if (error && error != -ENOENT)
		return Failure::FromErrno(error, "bpf_map_lookup_elem").Throw(env);
	return Boolean(env, error == 0);
}

// nextKey(previous | undefined, out): whether there was another.
napi_value Map::NextKey(napi_env env, napi_callback_info info)
{
	size_t argc = 2;
	napi_value argv[2];
	Map *map = Receiver(env, info, &argc, argv);
	if (!map)
		return nullptr;
	uint32_t number;
	const void *previous = nullptr;
	ByteSpan out;
	if ((!IsAbsent(env, argv[0]) && !map->ReadKey(env, argv[0], &number, &previous)) ||
	    !ReadBytes(env, argv[1], "out", map->key_size_, &out))
		return nullptr;
	int error = bpf_map_get_next_key(map->fd_.get(), previous, out.data);
	if (error && error != -ENOENT)
		return Failure::FromErrno(error, "bpf_map_get_next_key").Throw(env);
	return Boolean(env, error == 0);
}

// describe(): what does not change while the map lives.
Napi::Value Map::Describe(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "map");
	Napi::Object result = Napi::Object::New(env);
	result.Set("name", name_);
	result.Set("type", TypeName(type_));
	result.Set("id", id_);
	result.Set("fd", fd_.get());
	result.Set("keySize", key_size_);
	result.Set("valueSize", value_size_);
	result.Set("maxEntries", max_entries_);
	result.Set("flags", flags_);
	result.Set("slotSize", static_cast<double>(slot_size_));
	return result;
}

// info(): what does, and the rest again, all as the kernel has it now.
Napi::Value Map::Info(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "map");
	struct bpf_map_info map_info;
	int error = GetInfo(fd_.get(), &map_info);
	if (error)
		return Failure::FromErrno(error, "bpf_map_get_info_by_fd").Throw(env);
	return ToObject(env, fd_.get(), map_info);
}

Napi::Value Map::Pin(const Napi::CallbackInfo &info)
{
	if (!fd_.valid())
		return ThrowClosed(info.Env(), "map");
	return node_ebpf::Pin(info, fd_.get());
}

Napi::Value Map::Close(const Napi::CallbackInfo &info)
{
	fd_.Reset();
	return info.Env().Undefined();
}

void DefineMapFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("possibleCpus", Napi::Function::New(env, PossibleCpus, "possibleCpus"));
	exports.Set("maps", Napi::Function::New(env, Maps, "maps"));
	exports.Set("mapById", Napi::Function::New(env, MapById, "mapById"));
}

} // namespace node_ebpf
