// SPDX-License-Identifier: Apache-2.0
#include "handles/map.h"

#include "base/handle.h"
#include "handles/pin.h"
#include "base/type_tags.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

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
MapShape ShapeOf(const struct bpf_map_info &info, uint32_t possible_cpus)
{
	MapShape shape;
	shape.type = info.type;
	shape.id = info.id;
	shape.key_size = info.key_size;
	shape.value_size = info.value_size;
	shape.max_entries = info.max_entries;
	shape.flags = info.map_flags;
	bool per_cpu = IsPerCpu(info.type);
	shape.cpus = per_cpu ? possible_cpus : 1;
	shape.stride = per_cpu ? (static_cast<size_t>(info.value_size) + 7) / 8 * 8 : info.value_size;
	shape.slot_size = shape.stride * shape.cpus;
	return shape;
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

} // namespace

Napi::Function Map::Define(Napi::Env env)
{
	return DefineClass(env, "NativeMap",
	                   {
	                           InstanceMethod<&Map::Describe>("describe"),
	                           InstanceMethod<&Map::Info>("info"),
	                           InstanceMethod<&Map::Pin>("pin"),
	                           InstanceMethod<&Map::Freeze>("freeze"),
	                           InstanceMethod<&Map::CountKeys>("countKeys"),
	                           InstanceMethod<&Map::Members>("members"),
	                           InstanceMethod<&Map::Memory>("memory"),
	                           InstanceMethod<&Map::Bind>("bind"),
	                           InstanceMethod<&Map::UpdateBatch>("updateBatch"),
	                           InstanceMethod<&Map::DeleteBatch>("deleteBatch"),
	                           InstanceMethod<&Map::HasBatch>("hasBatch"),
	                           InstanceMethod<&Map::Scan>("scan"),
	                           InstanceMethod<&Map::Reader>("reader"),
	                           InstanceMethod<&Map::Attach>("attach"),
	                           InstanceMethod<&Map::Close>("close"),
	                   });
}

Napi::Value Map::New(Napi::Env env, UniqueFd fd, std::string name)
{
	MapInit init;
	init.fd = std::move(fd);
	init.name = std::move(name);
	return New(env, std::move(init));
}

Napi::Value Map::New(Napi::Env env, MapInit init)
{
	return Construct<Map>(env, std::move(init));
}

Map *Map::FromValue(Napi::Env env, Napi::Value value)
{
	if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kMapTag)) {
		Napi::TypeError::New(env, "Expected a map").ThrowAsJavaScriptException();
		return nullptr;
	}
	Map *map = Unwrap(value.As<Napi::Object>());
	if (!map) // the env is ending
		return nullptr;
	if (!map->open()) {
		ThrowClosed(env, "map");
		return nullptr;
	}
	return map;
}

Map::Map(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Map>(info)
{
	Napi::Env env = info.Env();
	MapInit init;
	if (!TakeInit(*this, info, &init))
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
	state_->fd = std::move(init.fd);
	state_->name = init.name.empty() ? map_info.name : std::move(init.name);
	state_->members = std::move(init.members);
	state_->object = std::move(init.object);
	state_->struct_ops = init.struct_ops;
	state_->shape = ShapeOf(map_info, static_cast<uint32_t>(cpus));
}

// describe(): what does not change while the map lives.
Napi::Value Map::Describe(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	const MapShape &shape = state_->shape;
	Napi::Object result = Napi::Object::New(env);
	result.Set("name", state_->name);
	result.Set("type", TypeName(shape.type));
	result.Set("id", shape.id);
	result.Set("fd", fd());
	result.Set("keySize", shape.key_size);
	result.Set("valueSize", shape.value_size);
	result.Set("maxEntries", shape.max_entries);
	result.Set("flags", shape.flags);
	result.Set("cpus", shape.cpus);
	result.Set("slotSize", static_cast<double>(shape.slot_size));
	return result;
}

// info(): what does, and the rest again, all as the kernel has it now.
Napi::Value Map::Info(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	struct bpf_map_info map_info;
	int error = GetInfo(fd(), &map_info);
	if (error)
		return Failure::FromErrno(error, "bpf_map_get_info_by_fd").Throw(env);
	return ToObject(env, fd(), map_info);
}

Napi::Value Map::Pin(const Napi::CallbackInfo &info)
{
	if (!open())
		return ThrowClosed(info.Env(), "map");
	return node_ebpf::Pin(info, fd());
}

Napi::Value Map::Freeze(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	int error = bpf_map_freeze(fd());
	if (error)
		return Failure::FromErrno(error, "bpf_map_freeze").Throw(env);
	return env.Undefined();
}

// countKeys(): at most max_entries. A walk that others disturb starts over, and is cut off there: then some
// keys are counted twice, of a map whose number is changing anyway.
Napi::Value Map::CountKeys(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	std::vector<uint8_t> previous(state_->shape.key_size), next(state_->shape.key_size);
	uint32_t count = 0;
	int error = bpf_map_get_next_key(fd(), nullptr, next.data());
	while (!error && ++count < state_->shape.max_entries) {
		previous.swap(next);
		error = bpf_map_get_next_key(fd(), previous.data(), next.data());
	}
	if (error && error != -ENOENT)
		return Failure::FromErrno(error, "bpf_map_get_next_key").Throw(env);
	return Napi::Number::New(env, count);
}

Napi::Value Map::Close(const Napi::CallbackInfo &info)
{
	state_->fd.Reset();
	state_->struct_ops = nullptr;
	state_->object.reset();
	return info.Env().Undefined();
}

void DefineMapFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("possibleCpus", Napi::Function::New(env, PossibleCpus, "possibleCpus"));
	exports.Set("maps", Napi::Function::New(env, Maps, "maps"));
	DefineMapCreation(env, exports);
	DefineAccessFunctions(env, exports);
	exports.Set("mapById", Napi::Function::New(env, MapById, "mapById"));
}

} // namespace node_ebpf
