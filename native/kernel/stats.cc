// SPDX-License-Identifier: Apache-2.0
#include "kernel/stats.h"

#include "base/handle.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

Napi::Value EnableStats(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	UniqueFd fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_enable_stats").Throw(env);
	return Construct<Stats>(env, StatsInit{std::move(fd)});
}

} // namespace

Napi::Function Stats::Define(Napi::Env env)
{
	return DefineClass(env, "NativeStats", {InstanceMethod<&Stats::Close>("close")});
}

Stats::Stats(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Stats>(info)
{
	StatsInit init;
	if (TakeInit(*this, info, &init))
		fd_ = std::move(init.fd);
}

Napi::Value Stats::Close(const Napi::CallbackInfo &info)
{
	fd_.Reset();
	return info.Env().Undefined();
}

void DefineStatsFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("enableStats", Napi::Function::New(env, EnableStats, "enableStats"));
}

} // namespace node_ebpf
