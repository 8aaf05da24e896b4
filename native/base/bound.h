// SPDX-License-Identifier: Apache-2.0
// Functions that carry their state, and memory that is bound to them once: what is called a thousand times a
// second has no receiver to unwrap and no argument to check.
#pragma once
#include "base/napi_setup.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

// States by number, for a function that all of them share: V8 calls a function that it always finds at a
// place straight from compiled code, and each of several in a way that costs a read of 1.5 µs another 0.25.
template <typename State> class BoundTable
{
public:
	uint32_t Add(State *state)
	{
		if (free_.empty()) {
			states_.push_back(state);
			return static_cast<uint32_t>(states_.size() - 1);
		}
		uint32_t number = free_.back();
		free_.pop_back();
		states_[number] = state;
		return number;
	}
	void Remove(uint32_t number)
	{
		states_[number] = nullptr;
		free_.push_back(number);
	}
	// Null where `number` is nobody's.
	State *Find(uint32_t number) const { return number < states_.size() ? states_[number] : nullptr; }

private:
	std::vector<State *> states_;
	std::vector<uint32_t> free_;
};

// A state that is in its env's table while it lives.
template <typename State> struct Numbered {
	explicit Numbered(std::shared_ptr<BoundTable<State>> of)
	    : table(std::move(of)), number(table->Add(static_cast<State *>(this)))
	{
	}
	~Numbered() { table->Remove(number); }
	Numbered(const Numbered &) = delete;
	Numbered &operator=(const Numbered &) = delete;

	const std::shared_ptr<BoundTable<State>> table;
	const uint32_t number;
};

// Gives `exports` a function of all states in a table, which is called with the number of one.
template <typename State>
void AddTableFunction(Napi::Object exports, const char *name, napi_callback callback,
                      BoundTable<State> *table)
{
	napi_env env = exports.Env();
	napi_value function;
	if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, table, &function) == napi_ok)
		napi_set_named_property(env, exports, name, function);
}

// The state that such a function is called for; null where the number is nobody's.
template <typename State>
__attribute__((always_inline)) inline State *NumberedState(napi_env env, napi_callback_info info)
{
	napi_value argument;
	uint32_t number = 0;
	size_t count = 1;
	void *table;
	napi_get_cb_info(env, info, &count, &argument, nullptr, &table);
	napi_get_value_uint32(env, argument, &number);
	return static_cast<BoundTable<State> *>(table)->Find(number);
}

inline napi_value ToBoolean(napi_env env, bool value)
{
	napi_value result;
	napi_get_boolean(env, value, &result);
	return result;
}

} // namespace node_ebpf
