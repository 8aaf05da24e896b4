// SPDX-License-Identifier: Apache-2.0
// One element at a time through bound memory, and many at once from the caller's arrays.
#include "base/addon.h"
#include "base/bound.h"
#include "base/bound_command.h"
#include "handles/map.h"
#include "base/options.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

// One key's and one slot's memory.
struct MapAccess : Numbered<MapAccess> {
	using Numbered::Numbered;

	std::shared_ptr<MapState> map;
	BoundMemory key;
	BoundMemory value;
	BoundCommand lookup;

	int fd() const { return map->fd.get(); }
	// Of a queue, a stack and a bloom filter there is none.
	void *key_pointer() const { return map->shape.key_size ? key.as<void>() : nullptr; }
};

namespace
{

// The answer of a call that may find nothing there.
napi_value Found(napi_env env, const MapAccess &access, int error, const char *operation)
{
	if (!error)
		return ToBoolean(env, true);
	if (error == -ENOENT)
		return ToBoolean(env, false);
	if (!access.map->fd.valid())
		return ThrowClosed(env, "map");
	return Failure::FromErrno(error, operation).Throw(env);
}

// lookupBound(number): into the bound value. Undefined where it was there, which costs nothing to return;
// false where it was not.
napi_value Lookup(napi_env env, napi_callback_info info)
{
	MapAccess *access = NumberedState<MapAccess>(env, info);
	if (!access)
		return ThrowClosed(env, "map");
	access->lookup.attr.map_fd = static_cast<uint32_t>(access->fd());
	int error = access->lookup.Lookup();
	if (!error)
		return nullptr;
	return Found(env, *access, error, "bpf_map_lookup_elem");
}

// update(flags): from the bound value. True; where a flag forbids it, or the map is full, an error.
napi_value Update(napi_env env, napi_callback_info info)
{
	napi_value argument;
	MapAccess &access = BoundState<MapAccess>(env, info, &argument);
	uint32_t flags = 0;
	if (!IsAbsent(env, argument) && !ReadUint32(env, argument, "flags", &flags))
		return nullptr;
	int error = bpf_map_update_elem(access.fd(), access.key_pointer(), access.value.as<void>(), flags);
	if (!error)
		return ToBoolean(env, true);
	if (!access.map->fd.valid())
		return ThrowClosed(env, "map");
	return Failure::FromErrno(error, "bpf_map_update_elem").Throw(env);
}

napi_value Remove(napi_env env, napi_callback_info info)
{
	MapAccess &access = BoundState<MapAccess>(env, info);
	int error = bpf_map_delete_elem(access.fd(), access.key_pointer());
	return Found(env, access, error, "bpf_map_delete_elem");
}

// take(): lookup and delete at once.
napi_value Take(napi_env env, napi_callback_info info)
{
	MapAccess &access = BoundState<MapAccess>(env, info);
	int error =
	        bpf_map_lookup_and_delete_elem(access.fd(), access.key_pointer(), access.value.as<void>());
	return Found(env, access, error, "bpf_map_lookup_and_delete_elem");
}

// next(first): the key after the bound one, or the first one, in its place.
napi_value Next(napi_env env, napi_callback_info info)
{
	napi_value argument;
	MapAccess &access = BoundState<MapAccess>(env, info, &argument);
	bool first = false;
	napi_get_value_bool(env, argument, &first);
	void *key = access.key.as<void>();
	int error = bpf_map_get_next_key(access.fd(), first ? nullptr : key, key);
	return Found(env, access, error, "bpf_map_get_next_key");
}

// Checks that two arrays hold `count` keys and values of a map.
bool ReadBatch(Napi::Env env, const Napi::CallbackInfo &info, const MapShape &shape, size_t count_index,
               uint32_t *count, ByteSpan *keys, ByteSpan *values)
{
	if (!ReadUint32(env, info[count_index], "count", count) ||
	    !ReadBytes(env, info[0], "keys", static_cast<size_t>(*count) * shape.key_size, keys))
		return false;
	return !values ||
	       ReadBytes(env, info[1], "values", static_cast<size_t>(*count) * shape.slot_size, values);
}

} // namespace

void DefineAccessFunctions(Napi::Env env, Napi::Object exports)
{
	AddTableFunction(exports, "lookupBound", Lookup, Addon::Of(env).accesses().get());
}

// bind(key, value, lock): the functions of one key's and one slot's memory.
Napi::Value Map::Bind(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	auto access = std::make_shared<MapAccess>(Addon::Of(env).accesses());
	access->map = state_;
	if (!access->key.Bind(env, info[0], "key", state_->shape.key_size) ||
	    !access->value.Bind(env, info[1], "value", state_->shape.slot_size))
		return env.Undefined();
	access->lookup.attr.key = reinterpret_cast<uintptr_t>(access->key_pointer());
	access->lookup.attr.value = reinterpret_cast<uintptr_t>(access->value.bytes());
	access->lookup.attr.flags = ReadFlag(env, info[2]) ? BPF_F_LOCK : 0;
	Napi::Object result = Napi::Object::New(env);
	result.Set("number", access->number);
	AddFunction(result, "update", Update, access);
	AddFunction(result, "remove", Remove, access);
	AddFunction(result, "take", Take, access);
	AddFunction(result, "next", Next, access);
	return result;
}

// updateBatch(keys, values, count, flags): { count, failure? }: how many were written, and why not more.
Napi::Value Map::UpdateBatch(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	uint32_t count, flags;
	ByteSpan keys, values;
	if (!ReadBatch(env, info, state_->shape, 2, &count, &keys, &values) ||
	    !ReadUint32(env, info[3], "flags", &flags))
		return env.Undefined();
	Zeroed<struct bpf_map_batch_opts> opts;
	opts.elem_flags = flags;
	uint32_t done = count;
	int error = count ? bpf_map_update_batch(fd(), keys.data, values.data, &done, &opts) : 0;
	Napi::Object result = Napi::Object::New(env);
	// EFAULT and what is refused before the first element leave the count as it was.
	result.Set("count", error && done == count ? 0 : done);
	if (error)
		result.Set("failure", Failure::FromErrno(error, "bpf_map_update_batch").ToError(env).Value());
	return result;
}

// deleteBatch(keys, count): { count, failure? }
Napi::Value Map::DeleteBatch(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	uint32_t count;
	ByteSpan keys;
	if (!ReadBatch(env, info, state_->shape, 1, &count, &keys, nullptr))
		return env.Undefined();
	Zeroed<struct bpf_map_batch_opts> opts;
	uint32_t done = count;
	int error = count ? bpf_map_delete_batch(fd(), keys.data, &done, &opts) : 0;
	Napi::Object result = Napi::Object::New(env);
	result.Set("count", error && done == count ? 0 : done);
	if (error)
		result.Set("failure", Failure::FromErrno(error, "bpf_map_delete_batch").ToError(env).Value());
	return result;
}

} // namespace node_ebpf
