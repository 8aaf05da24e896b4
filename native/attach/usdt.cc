// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/addon.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/log.h"
#include "handles/program.h"

#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

// attachUsdt(path, provider, name, pid | undefined): libbpf finds the probes of that name, writes what their
// arguments are into the object's maps, and makes a uprobe of each.
static Napi::Value AttachUsdt(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	std::string path, provider, name;
	uint32_t pid = 0;
	bool of_process = !IsAbsent(env, info[3]);
	if (!ReadString(env, info[0], "path", &path) || !ReadString(env, info[1], "provider", &provider) ||
	    !ReadString(env, info[2], "name", &name) ||
	    (of_process && !ReadUint32(env, info[3], "pid", &pid)))
		return env.Undefined();
	uint32_t program_id = 0;
	int error = program.libbpf() ? ProgramIdOf(program.fd(), &program_id) : -EOPNOTSUPP;
	if (error)
		return Failure::FromErrno(error, "bpf_program__attach_usdt").Throw(env);
	LogCapture capture;
	LibbpfLink link(bpf_program__attach_usdt(program.libbpf(), of_process ? static_cast<pid_t>(pid) : -1,
	                                         path.c_str(), provider.c_str(), name.c_str(), nullptr));
	if (!link)
		return Failure::FromErrno(errno, "bpf_program__attach_usdt", capture.Take()).Throw(env);
	Addon::Of(env).Say(capture.Rest());
	return Link::New(env, std::move(link), program_id, program.object());
}

void DefineUsdtAttach(ProgramMethods &methods)
{
	AddMethod<AttachUsdt>(methods, "attachUsdt");
}

} // namespace node_ebpf
