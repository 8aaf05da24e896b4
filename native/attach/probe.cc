// SPDX-License-Identifier: Apache-2.0
// Probes at one place, of the kernel or of a program: perf events of their own kinds, which sysfs numbers.
#include "attach/kinds.h"

#include "base/arguments.h"
#include "handles/link.h"
#include "attach/perf_event.h"
#include "handles/program.h"

#include <linux/perf_event.h>

namespace node_ebpf
{

namespace
{

// { pmu, returnBit? }: the event's type, and the bit of `config` that asks for the function's return.
bool ReadKind(Napi::Env env, Napi::Value pmu, Napi::Value return_bit, struct perf_event_attr *out)
{
	uint32_t bit = 0;
	bool at_return = !IsAbsent(env, return_bit);
	if (!ReadUint32(env, pmu, "pmu", &out->type) ||
	    (at_return && !ReadUint32(env, return_bit, "returnBit", &bit)))
		return false;
	if (bit > 63) {
		Napi::RangeError::New(env, "Expected a bit of 64 for returnBit").ThrowAsJavaScriptException();
		return false;
	}
	if (at_return)
		out->config |= uint64_t{1} << bit;
	return true;
}

} // namespace

// attachKprobe(pmu, returnBit | undefined, function, offset, cookie | undefined)
static Napi::Value AttachKprobe(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	struct perf_event_attr attributes = {};
	std::string function;
	std::optional<uint64_t> offset, cookie;
	if (!ReadKind(env, info[0], info[1], &attributes) ||
	    !ReadString(env, info[2], "function", &function) ||
	    !ReadOptionalUint64(env, info[3], "offset", &offset) ||
	    !ReadOptionalUint64(env, info[4], "cookie", &cookie))
		return env.Undefined();
	attributes.kprobe_func = reinterpret_cast<uint64_t>(function.c_str());
	attributes.probe_offset = offset.value_or(0);
	uint32_t program_id;
	int error = ProgramIdOf(program.fd(), &program_id);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	UniqueFd link;
	// On CPU 0, and yet for all: a probe's program runs wherever it is hit.
	if (auto failure = AttachToEvent(program.fd(), &attributes, -1, 0, cookie, &link))
		return failure->Throw(env);
	return Link::New(env, std::move(link), program_id);
}

// attachUprobe(pmu, returnBit | undefined, path, offset, pid | undefined, cookie | undefined): `offset` is
// one of the file.
static Napi::Value AttachUprobe(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	struct perf_event_attr attributes = {};
	std::string path;
	std::optional<uint64_t> offset, cookie;
	uint32_t pid = 0;
	bool of_process = !IsAbsent(env, info[4]);
	if (!ReadKind(env, info[0], info[1], &attributes) || !ReadString(env, info[2], "path", &path) ||
	    !ReadOptionalUint64(env, info[3], "offset", &offset) ||
	    (of_process && !ReadUint32(env, info[4], "pid", &pid)) ||
	    !ReadOptionalUint64(env, info[5], "cookie", &cookie))
		return env.Undefined();
	attributes.uprobe_path = reinterpret_cast<uint64_t>(path.c_str());
	attributes.probe_offset = offset.value_or(0);
	uint32_t program_id;
	int error = ProgramIdOf(program.fd(), &program_id);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	UniqueFd link;
	// Of one process the event has to be on all CPUs; of all processes, on one.
	auto failure = of_process ? AttachToEvent(program.fd(), &attributes, static_cast<pid_t>(pid), -1,
	                                          cookie, &link)
	                          : AttachToEvent(program.fd(), &attributes, -1, 0, cookie, &link);
	if (failure)
		return failure->Throw(env);
	return Link::New(env, std::move(link), program_id);
}

void DefineProbeAttach(ProgramMethods &methods)
{
	AddMethod<AttachKprobe>(methods, "attachKprobe");
	AddMethod<AttachUprobe>(methods, "attachUprobe");
}

} // namespace node_ebpf
