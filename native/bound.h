// SPDX-License-Identifier: Apache-2.0
// Functions that carry their state, and memory that is bound to them once: what is called a thousand times a
// second has no receiver to unwrap and no argument to check.
#pragma once
#include "napi_setup.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace node_ebpf
{

// Memory of a typed array, kept alive while this is. The array has to be on a SharedArrayBuffer, which cannot
// be detached, or on an ArrayBuffer that lib/ keeps to itself.
class BoundMemory
{
public:
	BoundMemory() = default;
	~BoundMemory();
	BoundMemory(const BoundMemory &) = delete;
	BoundMemory &operator=(const BoundMemory &) = delete;

	// In the place of what was bound before. False with an error pending where `value` is no typed array
	// of at least `minimum` bytes.
	bool Bind(napi_env env, napi_value value, const char *name, size_t minimum);

	template <typename Item> Item *as() const { return static_cast<Item *>(data_); }
	uint8_t *bytes() const { return as<uint8_t>(); }
	size_t size() const { return size_; }

private:
	napi_env env_ = nullptr;
	napi_ref reference_ = nullptr;
	void *data_ = nullptr;
	size_t size_ = 0; // bytes
};

// Gives `object` a method. The state lives as long as one of its functions does. In an env that is ending
// there is no method, and nobody to call it.
template <typename State>
void AddFunction(Napi::Object object, const char *name, napi_callback callback,
                 const std::shared_ptr<State> &state)
{
	napi_env env = object.Env();
	auto *data = new std::shared_ptr<State>(state);
	auto release = [](napi_env, void *pointer, void *) {
		delete static_cast<std::shared_ptr<State> *>(pointer);
	};
	napi_value function;
	if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function) != napi_ok ||
	    napi_add_finalizer(env, function, data, release, nullptr, nullptr) != napi_ok) {
		delete data;
		return;
	}
	napi_set_named_property(env, object, name, function);
}

// The state of the bound function that is being called, and its first arguments.
template <typename State>
State &BoundState(napi_env env, napi_callback_info info, napi_value *arguments = nullptr, size_t count = 1)
{
	size_t argc = arguments ? count : 0;
	void *data;
	napi_get_cb_info(env, info, &argc, arguments, nullptr, &data);
	return **static_cast<std::shared_ptr<State> *>(data);
}

inline napi_value ToBoolean(napi_env env, bool value)
{
	napi_value result;
	napi_get_boolean(env, value, &result);
	return result;
}

} // namespace node_ebpf
