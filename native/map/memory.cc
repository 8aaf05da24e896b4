// SPDX-License-Identifier: Apache-2.0
#include "map/reader.h"

#include <cerrno>
#include <linux/bpf.h>

namespace node_ebpf
{

// memory(): an ArrayBuffer over a map's own memory, which BPF programs write at the same time. The mapping
// lives as long as the buffer.
Napi::Value Map::Memory(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	auto memory = std::make_unique<MappedMemory>();
	int error = memory->Map(fd(), state_->shape, true);
	if (error)
		return Failure::FromErrno(error, "mmap").Throw(env);
	const MapShape &shape = state_->shape;
	// Of an array the pages that it does not fill are left out.
	size_t size = shape.type == BPF_MAP_TYPE_ARENA
	                      ? memory->size()
	                      : (static_cast<size_t>(shape.value_size) + 7) / 8 * 8 * shape.max_entries;
	MappedMemory *held = memory.release();
	auto release = [](napi_env, void *, void *hint) { delete static_cast<MappedMemory *>(hint); };
	napi_value result;
	if (napi_create_external_arraybuffer(env, held->data(), size, release, held, &result) != napi_ok) {
		delete held;
		return Failure::FromErrno(EOPNOTSUPP, "napi_create_external_arraybuffer").Throw(env);
	}
	return Napi::Value(env, result);
}

// detachBuffer(buffer): what memory() gave has no bytes any more, in any view of it.
Napi::Value DetachBuffer(const Napi::CallbackInfo &info)
{
	napi_detach_arraybuffer(info.Env(), info[0]);
	return info.Env().Undefined();
}

} // namespace node_ebpf
