// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/errors.h"
#include "base/log.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

struct bpf_object;
struct bpf_object_open_opts;

namespace node_ebpf
{

struct ObjectCloser {
	void operator()(struct bpf_object *object) const;
};
using ObjectPointer = std::unique_ptr<struct bpf_object, ObjectCloser>;

// bpf_object__open_mem: null with a negative errno in `error`.
ObjectPointer OpenObject(const std::vector<uint8_t> &bytes, const struct bpf_object_open_opts *opts,
                         int *error);

struct ObjectInit {
	ObjectPointer object;
	std::vector<std::string> map_names; // the object's own, in its order
	std::vector<std::string> log;
	std::vector<LogLine> said; // for onLog()
};

class Object : public Napi::ObjectWrap<Object>
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, ObjectInit init);

	explicit Object(const Napi::CallbackInfo &info);

private:
	Napi::Value Programs(const Napi::CallbackInfo &info);
	Napi::Value Maps(const Napi::CallbackInfo &info);
	Napi::Value Log(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	std::shared_ptr<struct bpf_object> object_; // its programs hold it too
	std::vector<std::string> map_names_;
	std::vector<std::string> log_;
};

// JS: loadObject(bytes, name, options): Promise, loadObjectSync(…)
void DefineObjectFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
