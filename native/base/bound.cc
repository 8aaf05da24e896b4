// SPDX-License-Identifier: Apache-2.0
#include "base/bound.h"

namespace node_ebpf
{

namespace
{

size_t ElementSize(napi_typedarray_type type)
{
	switch (type) {
	case napi_int8_array:
	case napi_uint8_array:
	case napi_uint8_clamped_array:
		return 1;
	case napi_int16_array:
	case napi_uint16_array:
		return 2;
	case napi_int32_array:
	case napi_uint32_array:
	case napi_float32_array:
		return 4;
	default:
		return 8;
	}
}

} // namespace

BoundMemory::~BoundMemory()
{
	if (reference_)
		napi_delete_reference(env_, reference_);
}

bool BoundMemory::Bind(napi_env env, napi_value value, const char *name, size_t minimum)
{
	napi_typedarray_type type;
	size_t length = 0;
	void *data = nullptr;
	if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
		std::string message = std::string("Expected a typed array for ") + name;
		napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message.c_str());
		return false;
	}
	size_t size = length * ElementSize(type);
	if (size < minimum) {
		std::string message = std::string("Expected at least ") + std::to_string(minimum) +
		                      " bytes for " + name + " but received " + std::to_string(size);
		napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
		return false;
	}
	napi_ref reference;
	if (napi_create_reference(env, value, 1, &reference) != napi_ok)
		return false;
	if (reference_)
		napi_delete_reference(env_, reference_);
	reference_ = reference;
	env_ = env;
	data_ = data;
	size_ = size;
	return true;
}

} // namespace node_ebpf
