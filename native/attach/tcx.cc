// SPDX-License-Identifier: Apache-2.0
#include "attach/tcx.h"

#include "attach/kinds.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/options.h"
#include "handles/program.h"
#include "kernel/tc.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

constexpr uint32_t kMaxPrograms = 64; // BPF_MPROG_MAX, include/linux/bpf_mprog.h

bpf_attach_type TcxHook(bpf_tc_attach_point direction)
{
	return direction == BPF_TC_INGRESS ? BPF_TCX_INGRESS : BPF_TCX_EGRESS;
}

// tcxPrograms(ifindex, direction, netns): [{ programId, linkId }] in the order in which they run; EINVAL
// before kernel 6.6. `linkId` 0: attached without a link.
Napi::Value TcxPrograms(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	bpf_tc_attach_point direction;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadDirection(env, info[1], &direction) ||
	    !Netns::Read(env, info[2], &netns))
		return env.Undefined();
	uint32_t programs[kMaxPrograms] = {}, links[kMaxPrograms] = {}, count = 0;
	int error = 0;
	auto query = [&] {
		Zeroed<struct bpf_prog_query_opts> opts;
		opts.prog_ids = programs;
		opts.link_ids = links;
		opts.count = kMaxPrograms;
		error = bpf_prog_query_opts(static_cast<int>(ifindex), TcxHook(direction), &opts);
		count = opts.count;
	};
	if (auto failure = netns.Run(query))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_query").Throw(env);
	Napi::Array result = Napi::Array::New(env, count);
	for (uint32_t i = 0; i < count && i < kMaxPrograms; i++) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("programId", programs[i]);
		entry.Set("linkId", links[i]);
		result.Set(i, entry);
	}
	return result;
}

} // namespace

// attachTcx(ifindex, direction, netns, 'before' | 'after' | undefined, programId | undefined, linkId |
// undefined): a link, before or after the program or link that is named; before or after all where none is;
// after all where nothing is said.
static Napi::Value AttachTcx(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex, program_id, link_id;
	bpf_tc_attach_point direction;
	Netns netns;
	std::string place;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadDirection(env, info[1], &direction) ||
	    !Netns::Read(env, info[2], &netns) ||
	    (!IsAbsent(env, info[3]) && !ReadString(env, info[3], "place", &place)) ||
	    !ReadOptionalUint32(env, info[4], "programId", &program_id) ||
	    !ReadOptionalUint32(env, info[5], "linkId", &link_id))
		return env.Undefined();
	Zeroed<struct bpf_link_create_opts> opts;
	opts.flags = place == "before" ? BPF_F_BEFORE : place == "after" ? BPF_F_AFTER : 0;
	if (link_id)
		opts.flags |= BPF_F_LINK;
	opts.tcx.relative_id = link_id ? link_id : program_id;
	int link_fd = -1;
	auto attach = [&] {
		link_fd = bpf_link_create(program.fd(), static_cast<int>(ifindex), TcxHook(direction), &opts);
	};
	if (auto failure = netns.Run(attach))
		return failure->Throw(env);
	if (link_fd < 0)
		return Failure::FromErrno(link_fd, "bpf_link_create").Throw(env);
	return Link::New(env, UniqueFd(link_fd));
}

void DefineTcxFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("tcxPrograms", Napi::Function::New(env, TcxPrograms, "tcxPrograms"));
}

void DefineTcxAttach(ProgramMethods &methods)
{
	AddMethod<AttachTcx>(methods, "attachTcx");
}

} // namespace node_ebpf
