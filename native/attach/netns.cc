// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/arguments.h"
#include "kernel/attach_type.h"
#include "handles/link.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

// attachNetns(netns, attachType): a path or a descriptor of a network namespace.
static Napi::Value AttachNetns(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	bpf_attach_type type;
	uint32_t given;
	UniqueFd opened;
	if (!ReadAttachType(env, info[1], &type))
		return env.Undefined();
	if (info[0].IsNumber()) {
		if (!ReadUint32(env, info[0], "netns", &given))
			return env.Undefined();
	} else {
		std::string path;
		if (!ReadString(env, info[0], "netns", &path))
			return env.Undefined();
		// O_NONBLOCK: a FIFO of that name would block the JS thread.
		opened = UniqueFd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
		if (!opened.valid())
			return Failure::FromErrno(errno, "open").Throw(env);
	}
	Zeroed<struct bpf_link_create_opts> opts;
	int netns = opened.valid() ? opened.get() : static_cast<int>(given);
	UniqueFd link(bpf_link_create(program.fd(), netns, type, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

void DefineNetnsAttach(ProgramMethods &methods)
{
	AddMethod<AttachNetns>(methods, "attachNetns");
}

} // namespace node_ebpf
