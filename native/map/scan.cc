// SPDX-License-Identifier: Apache-2.0
// A scan: a whole map as raw bytes, into bound arrays, some rows at a time.
#include "base/bound.h"
#include "handles/map.h"
#include "map/walk.h"

#include <cerrno>

namespace node_ebpf
{

namespace
{

struct Scanner {
	Scanner(std::shared_ptr<MapState> state, bool batch, bool take)
	    : map(std::move(state)), walk(map->shape, batch, take)
	{
	}

	std::shared_ptr<MapState> map;
	MapWalk walk;
	BoundMemory keys;
	BoundMemory values;
	uint32_t capacity = 0;
};

// next(): rows, 0 at the end; -1 where `capacity` is too small for one bucket of the hash.
napi_value ScanNext(napi_env env, napi_callback_info info)
{
	Scanner &scan = BoundState<Scanner>(env, info);
	int fd = scan.map->fd.get();
	if (fd < 0)
		return ThrowClosed(env, "map");
	uint32_t count = 0;
	int error = scan.walk.Next(fd, scan.keys.bytes(), scan.values.bytes(), scan.capacity, &count);
	if (error && error != -ENOSPC)
		return Failure::FromErrno(error, "bpf_map_lookup_batch").Throw(env);
	napi_value result;
	napi_create_int32(env, error ? -1 : static_cast<int32_t>(count), &result);
	return result;
}

napi_value ScanRewind(napi_env env, napi_callback_info info)
{
	BoundState<Scanner>(env, info).walk.Rewind();
	return nullptr;
}

bool BindRows(napi_env env, Scanner *scan, const napi_value arguments[3])
{
	uint32_t capacity;
	if (!ReadUint32(env, arguments[2], "capacity", &capacity))
		return false;
	const MapShape &shape = scan->map->shape;
	scan->capacity = 0; // until both are bound
	if (!scan->keys.Bind(env, arguments[0], "keys", static_cast<size_t>(capacity) * shape.key_size) ||
	    !scan->values.Bind(env, arguments[1], "values", static_cast<size_t>(capacity) * shape.slot_size))
		return false;
	scan->capacity = capacity;
	return true;
}

// rebind(keys, values, capacity): the scan goes on with other arrays.
napi_value ScanRebind(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	Scanner &scan = BoundState<Scanner>(env, info, arguments, 3);
	BindRows(env, &scan, arguments);
	return nullptr;
}

} // namespace

Napi::Value Map::HasBatch(const Napi::CallbackInfo &info)
{
	if (!open())
		return ThrowClosed(info.Env(), "map");
	return Napi::Boolean::New(info.Env(), node_ebpf::HasBatch(fd()));
}

// scan(keys, values, capacity, take): { via, next, rebind, rewind }
Napi::Value Map::Scan(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	bool batch = node_ebpf::HasBatch(fd());
	auto scan = std::make_shared<Scanner>(state_, batch, ReadFlag(env, info[3]));
	const napi_value arguments[3] = {info[0], info[1], info[2]};
	if (!BindRows(env, scan.get(), arguments))
		return env.Undefined();
	Napi::Object result = Napi::Object::New(env);
	result.Set("via", batch ? "batch" : "iterate");
	AddFunction(result, "next", ScanNext, scan);
	AddFunction(result, "rebind", ScanRebind, scan);
	AddFunction(result, "rewind", ScanRewind, scan);
	return result;
}

} // namespace node_ebpf
