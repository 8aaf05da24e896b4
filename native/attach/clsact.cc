// SPDX-License-Identifier: Apache-2.0
#include "attach/clsact.h"

#include "attach/kinds.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/log.h"
#include "base/options.h"
#include "handles/program.h"
#include "kernel/tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

// Deletes the clsact qdisc where neither of its hooks holds a filter of anybody; -ENOTEMPTY otherwise. The
// kernel has no such condition: a filter that somebody adds between the look and the deletion goes with it.
int RemoveEmptyClsact(int ifindex)
{
	std::string kind;
	std::vector<TcFilter> filters;
	int error = QdiscKind(ifindex, &kind);
	if (!error && kind != "clsact")
		error = -ENOENT;
	if (!error)
		error = ListFilters(ifindex, BPF_TC_INGRESS, &filters);
	if (!error)
		error = ListFilters(ifindex, BPF_TC_EGRESS, &filters);
	if (!error && !filters.empty())
		error = -ENOTEMPTY;
	if (error)
		return error;
	LogCapture capture;
	Zeroed<struct bpf_tc_hook> hook;
	hook.ifindex = ifindex;
	hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
	return bpf_tc_hook_destroy(&hook);
}

// A filter of a clsact qdisc. The kernel compares no program when it replaces or deletes one, so that is
// asked just before: somebody who takes the place in between is not noticed.
struct ClsactFilter final : NetlinkAttachment {
	bpf_tc_attach_point direction = BPF_TC_INGRESS;
	uint32_t priority = 0; // 0 before Set(): the kernel chooses a free one, and a free handle
	uint32_t handle = 0;
	bool remove_qdisc = false; // once its hooks are empty

	const char *type() const override { return "clsact"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override;
	std::optional<Failure> Remove() override;
	std::optional<Failure> ProgramId(uint32_t *out) const override;
	void Describe(Napi::Object out) const override
	{
		NetlinkAttachment::Describe(out);
		out.Set("priority", priority);
		out.Set("handle", handle);
	}

private:
	std::optional<Failure> Expect(int program_fd, const char *operation) const;
	void FillHook(struct bpf_tc_hook *hook) const
	{
		hook->ifindex = ifindex;
		hook->attach_point = direction;
	}
};

std::optional<Failure> ClsactFilter::ProgramId(uint32_t *out) const
{
	int error = 0;
	*out = 0;
	auto query = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.priority = priority;
		opts.handle = handle;
		error = bpf_tc_query(&hook, &opts);
		if (!error)
			*out = opts.prog_id;
	};
	if (auto failure = netns.Run(query))
		return failure;
	// No such filter; no such qdisc, or a filter of another kind in its place; no such interface.
	if (error && error != -ENOENT && error != -EINVAL && error != -ENODEV)
		return Failure::FromErrno(error, "bpf_tc_query");
	return std::nullopt;
}

std::optional<Failure> ClsactFilter::Expect(int program_fd, const char *operation) const
{
	uint32_t expected = 0, found = 0;
	int error = ProgramIdOf(program_fd, &expected);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd");
	if (auto failure = ProgramId(&found))
		return failure;
	if (found == expected)
		return std::nullopt;
	if (found == 0)
		return Failure::FromErrno(ENOENT, operation);
	Failure failure;
	failure.code = "ERR_EBPF_REPLACED";
	failure.operation = operation;
	failure.message = "program " + std::to_string(found) + " is there, not " + std::to_string(expected);
	return failure;
}

std::optional<Failure> ClsactFilter::Set(int program_fd, int expected_fd)
{
	if (expected_fd >= 0) {
		if (auto failure = Expect(expected_fd, "bpf_tc_attach"))
			return failure;
	}
	int error = 0;
	std::vector<std::string> log;
	auto set = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.prog_fd = program_fd;
		opts.priority = priority;
		opts.handle = handle;
		opts.flags = expected_fd >= 0 ? BPF_TC_F_REPLACE : 0;
		error = bpf_tc_attach(&hook, &opts);
		if (!error) {
			priority = opts.priority;
			handle = opts.handle;
		}
		log = capture.Take();
	};
	if (auto failure = netns.Run(set))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_tc_attach", std::move(log));
	return std::nullopt;
}

std::optional<Failure> ClsactFilter::Remove()
{
	if (auto failure = Expect(program.get(), "bpf_tc_detach"))
		return failure;
	int error = 0;
	std::vector<std::string> log;
	auto remove = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		FillHook(&hook);
		Zeroed<struct bpf_tc_opts> opts;
		opts.priority = priority;
		opts.handle = handle;
		error = bpf_tc_detach(&hook, &opts);
		log = capture.Take();
		if (!error && remove_qdisc)
			RemoveEmptyClsact(ifindex); // a qdisc that is in use stays
	};
	if (auto failure = netns.Run(remove))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_tc_detach", std::move(log));
	return std::nullopt;
}

// createClsact(ifindex, netns): false where the place is taken, by a clsact or by an ingress qdisc.
Napi::Value CreateClsact(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	int error = 0;
	std::vector<std::string> log;
	auto create = [&] {
		LogCapture capture;
		Zeroed<struct bpf_tc_hook> hook;
		hook.ifindex = static_cast<int>(ifindex);
		hook.attach_point = BPF_TC_INGRESS;
		error = bpf_tc_hook_create(&hook);
		log = capture.Take();
	};
	if (auto failure = netns.Run(create))
		return failure->Throw(env);
	if (error && error != -EEXIST)
		return Failure::FromErrno(error, "bpf_tc_hook_create", std::move(log)).Throw(env);
	return Napi::Boolean::New(env, error == 0);
}

// removeClsact(ifindex, netns): ENOTEMPTY where a hook holds a filter.
Napi::Value RemoveClsact(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	int error = 0;
	if (auto failure = netns.Run([&] { error = RemoveEmptyClsact(static_cast<int>(ifindex)); }))
		return failure->Throw(env);
	if (error)
		return Failure::FromErrno(error, "bpf_tc_hook_destroy").Throw(env);
	return env.Undefined();
}

} // namespace

// attachClsact(ifindex, direction, netns, priority | undefined, handle | undefined, removeQdisc): a filter,
// which the kernel keeps until somebody takes it off.
static Napi::Value AttachClsact(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	auto filter = std::make_unique<ClsactFilter>();
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) ||
	    !ReadDirection(env, info[1], &filter->direction) || !Netns::Read(env, info[2], &filter->netns) ||
	    !ReadOptionalUint32(env, info[3], "priority", &filter->priority) ||
	    !ReadOptionalUint32(env, info[4], "handle", &filter->handle))
		return env.Undefined();
	filter->ifindex = static_cast<int>(ifindex);
	filter->remove_qdisc = ReadFlag(env, info[5]);
	filter->program = UniqueFd::Duplicate(program.fd());
	if (!filter->program.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	if (auto failure = filter->Set(program.fd(), -1))
		return failure->Throw(env);
	return Link::New(env, std::move(filter));
}

// adoptClsact(ifindex, direction, netns, priority, handle): this program's filter that another process put
// there; ENOENT where there is none.
static Napi::Value AdoptClsact(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	auto filter = std::make_unique<ClsactFilter>();
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) ||
	    !ReadDirection(env, info[1], &filter->direction) || !Netns::Read(env, info[2], &filter->netns) ||
	    !ReadUint32(env, info[3], "priority", &filter->priority) ||
	    !ReadUint32(env, info[4], "handle", &filter->handle))
		return env.Undefined();
	filter->ifindex = static_cast<int>(ifindex);
	return Link::Adopt(env, program.fd(), std::move(filter));
}

void DefineClsactFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("createClsact", Napi::Function::New(env, CreateClsact, "createClsact"));
	exports.Set("removeClsact", Napi::Function::New(env, RemoveClsact, "removeClsact"));
}

void DefineClsactAttach(ProgramMethods &methods)
{
	AddMethod<AttachClsact>(methods, "attachClsact");
	AddMethod<AdoptClsact>(methods, "adoptClsact");
}

} // namespace node_ebpf
