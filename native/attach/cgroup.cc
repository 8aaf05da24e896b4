// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/arguments.h"
#include "kernel/attach_type.h"
#include "handles/link.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

// attachCgroup(path, attachType | undefined): a link, of the type that the SEC() says where none is given.
static Napi::Value AttachCgroup(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	std::string path;
	bpf_attach_type type = program.libbpf() ? bpf_program__expected_attach_type(program.libbpf())
	                                        : BPF_CGROUP_INET_INGRESS;
	if (!ReadString(env, info[0], "path", &path) ||
	    (!IsAbsent(env, info[1]) && !ReadAttachType(env, info[1], &type)))
		return env.Undefined();
	UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!folder.valid())
		return Failure::FromErrno(errno, "open").Throw(env);
	Zeroed<struct bpf_link_create_opts> opts;
	UniqueFd link(bpf_link_create(program.fd(), folder.get(), type, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

void DefineCgroupAttach(ProgramMethods &methods)
{
	AddMethod<AttachCgroup>(methods, "attachCgroup");
}

} // namespace node_ebpf
