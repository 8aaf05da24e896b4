// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/addon.h"
#include "base/log.h"
#include "handles/link.h"
#include "handles/program.h"

#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

// attach(): libbpf attaches the program to what its SEC() names.
static Napi::Value AttachBySection(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t id;
	int error = program.libbpf() ? ProgramIdOf(program.fd(), &id) : -EOPNOTSUPP;
	if (error)
		return Failure::FromErrno(error, "bpf_program__attach").Throw(env);
	LogCapture capture;
	LibbpfLink link(bpf_program__attach(program.libbpf()));
	if (!link)
		return Failure::FromErrno(errno, "bpf_program__attach", capture.Take()).Throw(env);
	Addon::Of(env).Say(capture.Rest());
	return Link::New(env, std::move(link), id, program.object());
}

void DefineSectionAttach(ProgramMethods &methods)
{
	AddMethod<AttachBySection>(methods, "attach");
}

} // namespace node_ebpf
