// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "arguments.h"
#include "errors.h"
#include "unique_fd.h"

#include <string>

namespace node_ebpf
{

struct MapInit {
	UniqueFd fd;
	std::string name; // libbpf's; the kernel's own is cut at 15 characters
};

class Map : public Napi::ObjectWrap<Map>
{
public:
	static Napi::Function Define(Napi::Env env);
	// Reads the map's shape from the kernel; a Failure is thrown as a JS error and the result is empty.
	static Napi::Value New(Napi::Env env, UniqueFd fd, std::string name);

	// The map that `value` wraps, open; null with an error pending otherwise.
	static Map *FromValue(Napi::Env env, Napi::Value value);

	explicit Map(const Napi::CallbackInfo &info);
	int fd() const { return fd_.get(); }

private:
	// The hot calls are raw Node-API: ObjectWrap's dispatch alone costs 5 to 8 times theirs.
	static napi_value GetInto(napi_env env, napi_callback_info info);
	static napi_value NextKey(napi_env env, napi_callback_info info);
	static Map *Receiver(napi_env env, napi_callback_info info, size_t *argc, napi_value *argv);
	bool ReadKey(napi_env env, napi_value value, uint32_t *number, const void **out) const;

	Napi::Value Describe(const Napi::CallbackInfo &info);
	Napi::Value Info(const Napi::CallbackInfo &info);
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
	std::string name_;
	uint32_t type_ = 0;
	uint32_t id_ = 0;
	uint32_t key_size_ = 0;
	uint32_t value_size_ = 0;
	uint32_t max_entries_ = 0;
	uint32_t flags_ = 0;
	size_t slot_size_ = 0; // what one lookup writes
};

// JS: possibleCpus(), maps(): every map on this machine, mapById(id) (both need CAP_SYS_ADMIN)
void DefineMapFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
