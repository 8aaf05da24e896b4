// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"
#include "link.h"
#include "options.h"
#include "program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>

namespace node_ebpf
{

namespace
{

// By the kernel's word, such as cgroup_inet_ingress.
bool FindAttachType(const std::string &name, bpf_attach_type *out)
{
	for (int type = 0; type < __MAX_BPF_ATTACH_TYPE; type++) {
		const char *known = libbpf_bpf_attach_type_str(static_cast<bpf_attach_type>(type));
		if (known && name == known) {
			*out = static_cast<bpf_attach_type>(type);
			return true;
		}
	}
	return false;
}

} // namespace

// attachCgroup(path, attachType | undefined): a link, of the type that the SEC() says where none is given.
Napi::Value Program::AttachCgroup(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	std::string path, name;
	bpf_attach_type type =
	        program_ ? bpf_program__expected_attach_type(program_) : BPF_CGROUP_INET_INGRESS;
	if (!ReadString(env, info[0], "path", &path) ||
	    (!IsAbsent(env, info[1]) && !ReadString(env, info[1], "attachType", &name)))
		return env.Undefined();
	if (!name.empty() && !FindAttachType(name, &type))
		return Failure::FromErrno(EINVAL, "libbpf_bpf_attach_type_str").Throw(env);
	UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!folder.valid())
		return Failure::FromErrno(errno, "open").Throw(env);
	Zeroed<struct bpf_link_create_opts> opts;
	UniqueFd link(bpf_link_create(fd_.get(), folder.get(), type, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

} // namespace node_ebpf
