// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "attach/perf_event.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

// attachTracepoint(number, cookie | undefined): `number` is what tracefs gives the tracepoint.
static Napi::Value AttachTracepoint(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t number;
	std::optional<uint64_t> cookie;
	if (!ReadUint32(env, info[0], "tracepoint", &number) ||
	    !ReadOptionalUint64(env, info[1], "cookie", &cookie))
		return env.Undefined();
	uint32_t id;
	int error = ProgramIdOf(program.fd(), &id);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	UniqueFd fd;
	if (auto failure = AttachToTracepoint(program.fd(), number, cookie, &fd))
		return failure->Throw(env);
	return Link::New(env, std::move(fd), id);
}

// attachRawTracepoint(name | undefined): without one, where the program was loaded for (tp_btf, fentry, lsm).
static Napi::Value AttachRawTracepoint(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	std::string name;
	bool named = !IsAbsent(env, info[0]);
	if (named && !ReadString(env, info[0], "name", &name))
		return env.Undefined();
	UniqueFd fd(bpf_raw_tracepoint_open(named ? name.c_str() : nullptr, program.fd()));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_raw_tracepoint_open").Throw(env);
	return Link::New(env, std::move(fd));
}

void DefineTracepointAttach(ProgramMethods &methods)
{
	AddMethod<AttachTracepoint>(methods, "attachTracepoint");
	AddMethod<AttachRawTracepoint>(methods, "attachRawTracepoint");
}

} // namespace node_ebpf
