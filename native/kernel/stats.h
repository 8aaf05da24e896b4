// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/napi_setup.h"
#include "base/unique_fd.h"

namespace node_ebpf
{

struct StatsInit {
	UniqueFd fd;
};

// The kernel measures programs while this descriptor is open, on the whole machine.
class Stats : public Napi::ObjectWrap<Stats>
{
public:
	static Napi::Function Define(Napi::Env env);

	explicit Stats(const Napi::CallbackInfo &info);

private:
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
};

// JS: enableStats()
void DefineStatsFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
