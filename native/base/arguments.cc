// SPDX-License-Identifier: Apache-2.0
#include "base/arguments.h"

#include <cmath>
#include <limits>

namespace node_ebpf
{

namespace
{

bool Refuse(napi_env env, const char *name, const char *expected)
{
	std::string message = std::string("Expected ") + expected + " for " + name;
	napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message.c_str());
	return false;
}

} // namespace

bool IsAbsent(napi_env env, napi_value value)
{
	napi_valuetype type;
	return napi_typeof(env, value, &type) != napi_ok || type == napi_undefined || type == napi_null;
}

bool ReadFlag(napi_env env, napi_value value)
{
	bool flag = false;
	return napi_get_value_bool(env, value, &flag) == napi_ok && flag;
}

bool ReadBytes(napi_env env, napi_value value, const char *name, size_t minimum, ByteSpan *out)
{
	bool is_typed_array = false;
	napi_typedarray_type type;
	size_t length = 0;
	void *data = nullptr;
	if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array ||
	    napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
	    type != napi_uint8_array)
		return Refuse(env, name, "a Uint8Array");
	if (length < minimum) {
		std::string message = std::string("Expected at least ") + std::to_string(minimum) +
		                      " bytes for " + name + " but received " + std::to_string(length);
		napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
		return false;
	}
	out->data = static_cast<uint8_t *>(data);
	out->size = length;
	return true;
}

bool ReadOptionalBytes(napi_env env, napi_value value, const char *name, ByteSpan *out)
{
	*out = ByteSpan();
	return IsAbsent(env, value) || ReadBytes(env, value, name, 0, out);
}

bool ReadUint32(napi_env env, napi_value value, const char *name, uint32_t *out)
{
	double number;
	if (napi_get_value_double(env, value, &number) != napi_ok)
		return Refuse(env, name, "a number");
	// Written so that NaN fails too.
	if (!(number >= 0 && number <= std::numeric_limits<uint32_t>::max() &&
	      std::floor(number) == number)) {
		std::string message = std::string("Expected an integer from 0 to 4294967295 for ") + name;
		napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
		return false;
	}
	*out = static_cast<uint32_t>(number);
	return true;
}

bool ReadOptionalUint64(napi_env env, napi_value value, const char *name, std::optional<uint64_t> *out)
{
	out->reset();
	if (IsAbsent(env, value))
		return true;
	uint64_t number;
	bool lossless = false;
	if (napi_get_value_bigint_uint64(env, value, &number, &lossless) != napi_ok)
		return Refuse(env, name, "a bigint");
	if (!lossless) {
		std::string message = std::string("Expected a bigint from 0 to 2^64 - 1 for ") + name;
		napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
		return false;
	}
	*out = number;
	return true;
}

bool ReadOptionalUint32(napi_env env, napi_value value, const char *name, uint32_t *out)
{
	*out = 0;
	return IsAbsent(env, value) || ReadUint32(env, value, name, out);
}

bool ReadString(napi_env env, napi_value value, const char *name, std::string *out)
{
	size_t length = 0;
	if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok)
		return Refuse(env, name, "a string");
	out->resize(length + 1); // napi writes a NUL of its own
	napi_get_value_string_utf8(env, value, out->data(), out->size(), &length);
	out->resize(length);
	// The kernel and libbpf would stop there, and mean another path than the one that was checked.
	if (out->find('\0') != std::string::npos)
		return Refuse(env, name, "a string without NUL");
	return true;
}

} // namespace node_ebpf
