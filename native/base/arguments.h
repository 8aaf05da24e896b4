// SPDX-License-Identifier: Apache-2.0
// What JS hands over, checked before any of it reaches the kernel. Each reader returns false with a TypeError
// or a RangeError pending: memory safety rests on these bounds, whatever lib/ has checked before.
#pragma once
#include "base/napi_setup.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace node_ebpf
{

struct ByteSpan {
	uint8_t *data = nullptr;
	size_t size = 0;
};

// A Uint8Array of at least `minimum` bytes. A detached one has none.
bool ReadBytes(napi_env env, napi_value value, const char *name, size_t minimum, ByteSpan *out);
// A Uint8Array, or undefined or null for an absent one.
bool ReadOptionalBytes(napi_env env, napi_value value, const char *name, ByteSpan *out);
bool ReadUint32(napi_env env, napi_value value, const char *name, uint32_t *out);
// A bigint from 0 to 2^64 - 1, or undefined or null for an absent one.
bool ReadOptionalUint64(napi_env env, napi_value value, const char *name, std::optional<uint64_t> *out);
// 0 for an absent one: the kernel then chooses.
bool ReadOptionalUint32(napi_env env, napi_value value, const char *name, uint32_t *out);
bool ReadString(napi_env env, napi_value value, const char *name, std::string *out);

bool IsAbsent(napi_env env, napi_value value);
// True for true alone. Napi::Value::ToBoolean() calls into the env: in one that is ending it gives an empty
// value, and node-addon-api ends the process over that.
bool ReadFlag(napi_env env, napi_value value);

} // namespace node_ebpf
