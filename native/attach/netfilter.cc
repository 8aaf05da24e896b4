// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/arguments.h"
#include "handles/link.h"
#include "base/netns.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

// attachNetfilter(pf, hooknum, priority, defrag, netns): the kernel's numbers, in the namespace of the thread
// that asks (net/netfilter/nf_bpf_link.c).
static Napi::Value AttachNetfilter(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	Zeroed<struct bpf_link_create_opts> opts;
	Netns netns;
	if (!ReadUint32(env, info[0], "pf", &opts.netfilter.pf) ||
	    !ReadUint32(env, info[1], "hooknum", &opts.netfilter.hooknum) || !info[2].IsNumber() ||
	    !Netns::Read(env, info[4], &netns)) {
		if (!env.IsExceptionPending())
			Napi::TypeError::New(env, "Expected a number for priority")
			        .ThrowAsJavaScriptException();
		return env.Undefined();
	}
	opts.netfilter.priority = info[2].As<Napi::Number>().Int32Value();
	opts.netfilter.flags = ReadFlag(env, info[3]) ? BPF_F_NETFILTER_IP_DEFRAG : 0;
	UniqueFd link;
	int error = 0;
	auto failure = netns.Run([&] {
		link = UniqueFd(bpf_link_create(program.fd(), 0, BPF_NETFILTER, &opts));
		error = link.valid() ? 0 : errno;
	});
	if (failure)
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

void DefineNetfilterAttach(ProgramMethods &methods)
{
	AddMethod<AttachNetfilter>(methods, "attachNetfilter");
}

} // namespace node_ebpf
