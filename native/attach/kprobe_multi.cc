// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/arguments.h"
#include "handles/link.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <vector>

namespace node_ebpf
{

// attachKprobeMulti(functions, ret, cookies): one link for all of them, or none. `cookies` is empty, or has
// one for each function.
static Napi::Value AttachKprobeMulti(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	if (!info[0].IsArray() || !info[2].IsArray()) {
		Napi::TypeError::New(env, "Expected arrays of functions and cookies")
		        .ThrowAsJavaScriptException();
		return env.Undefined();
	}
	Napi::Array functions = info[0].As<Napi::Array>(), given = info[2].As<Napi::Array>();
	std::vector<std::string> names(functions.Length());
	std::vector<const char *> pointers;
	std::vector<__u64> cookies;
	for (uint32_t i = 0; i < names.size(); i++) {
		if (!ReadString(env, functions.Get(i), "function", &names[i]))
			return env.Undefined();
		pointers.push_back(names[i].c_str());
	}
	for (uint32_t i = 0; i < given.Length(); i++) {
		std::optional<uint64_t> cookie;
		if (!ReadOptionalUint64(env, given.Get(i), "cookie", &cookie))
			return env.Undefined();
		cookies.push_back(cookie.value_or(0));
	}
	if (!cookies.empty() && cookies.size() != names.size()) {
		Napi::RangeError::New(env, "Expected a cookie for each function")
		        .ThrowAsJavaScriptException();
		return env.Undefined();
	}
	Zeroed<struct bpf_link_create_opts> opts;
	opts.kprobe_multi.flags = ReadFlag(env, info[1]) ? BPF_F_KPROBE_MULTI_RETURN : 0;
	opts.kprobe_multi.cnt = static_cast<uint32_t>(names.size());
	opts.kprobe_multi.syms = pointers.data();
	opts.kprobe_multi.cookies = cookies.empty() ? nullptr : cookies.data();
	UniqueFd link(bpf_link_create(program.fd(), 0, BPF_TRACE_KPROBE_MULTI, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

void DefineKprobeMultiAttach(ProgramMethods &methods)
{
	AddMethod<AttachKprobeMulti>(methods, "attachKprobeMulti");
}

} // namespace node_ebpf
