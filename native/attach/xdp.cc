// SPDX-License-Identifier: Apache-2.0
#include "attach/xdp.h"

#include "attach/kinds.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/log.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstddef>
#include <linux/if_link.h>
#include <memory>

namespace node_ebpf
{

namespace
{

bool ReadXdpMode(napi_env env, napi_value value, uint32_t *out)
{
	std::string mode;
	if (!ReadString(env, value, "mode", &mode))
		return false;
	if (mode == "skb")
		*out = XDP_FLAGS_SKB_MODE;
	else if (mode == "drv")
		*out = XDP_FLAGS_DRV_MODE;
	else if (mode == "hw")
		*out = XDP_FLAGS_HW_MODE;
	else {
		napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", "Expected skb, drv or hw for mode");
		return false;
	}
	return true;
}

struct XdpState {
	uint8_t attach_mode = 0; // XDP_ATTACHED_*
	uint32_t skb_program_id = 0;
	uint32_t drv_program_id = 0;
	uint32_t hw_program_id = 0;
	uint64_t features = 0; // NETDEV_XDP_ACT_*; kernels before 6.3 do not tell, and read as none
};

std::optional<Failure> QueryXdp(const Netns &netns, int ifindex, XdpState *out)
{
	int error = 0;
	std::vector<std::string> log;
	auto query = [&] {
		LogCapture capture;
		Zeroed<struct bpf_xdp_query_opts> opts;
		error = bpf_xdp_query(ifindex, 0, &opts);
		if (error != 0 && error != -ENODEV && error != -EPERM) {
			// libbpf asks for the features in a second question, which kernels before 6.3 and
			// some sandboxes refuse; with the shorter struct it asks the first alone.
			opts.feature_flags = 0;
			opts.sz = offsetof(struct bpf_xdp_query_opts, feature_flags);
			error = bpf_xdp_query(ifindex, 0, &opts);
		}
		out->features = opts.feature_flags;
		out->attach_mode = opts.attach_mode;
		out->skb_program_id = opts.skb_prog_id;
		out->drv_program_id = opts.drv_prog_id;
		out->hw_program_id = opts.hw_prog_id;
		log = capture.Take();
	};
	if (auto failure = netns.Run(query))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_xdp_query", std::move(log));
	return std::nullopt;
}

Napi::Value XdpQuery(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !Netns::Read(env, info[1], &netns))
		return env.Undefined();
	XdpState state;
	if (auto failure = QueryXdp(netns, static_cast<int>(ifindex), &state))
		return failure->Throw(env);
	Napi::Object result = Napi::Object::New(env);
	result.Set("attachMode", static_cast<uint32_t>(state.attach_mode));
	result.Set("skb", state.skb_program_id);
	result.Set("drv", state.drv_program_id);
	result.Set("hw", state.hw_program_id);
	result.Set("features", static_cast<double>(state.features));
	return result;
}

struct XdpNetlink final : NetlinkAttachment {
	uint32_t mode = 0; // XDP_FLAGS_*_MODE

	const char *type() const override { return "xdp"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override;
	std::optional<Failure> Remove() override;
	std::optional<Failure> ProgramId(uint32_t *out) const override;
};

std::optional<Failure> XdpNetlink::Set(int program_fd, int expected_fd)
{
	int error = 0;
	std::vector<std::string> log;
	auto set = [&] {
		LogCapture capture;
		Zeroed<struct bpf_xdp_attach_opts> opts;
		uint32_t flags = mode;
		if (expected_fd >= 0) {
			opts.old_prog_fd = expected_fd;
			flags |= XDP_FLAGS_REPLACE;
		} else {
			flags |= XDP_FLAGS_UPDATE_IF_NOEXIST;
		}
		error = bpf_xdp_attach(ifindex, program_fd, flags, &opts);
		log = capture.Take();
	};
	if (auto failure = netns.Run(set))
		return failure;
	if (error)
		return Failure::FromErrno(error, "bpf_xdp_attach", std::move(log));
	return std::nullopt;
}

std::optional<Failure> XdpNetlink::Remove()
{
	return Set(-1, program.get());
}

std::optional<Failure> XdpNetlink::ProgramId(uint32_t *out) const
{
	XdpState state;
	if (auto failure = QueryXdp(netns, ifindex, &state)) {
		if (failure->errnum != ENODEV)
			return failure;
		state = XdpState(); // the interface is gone, and what was attached to it
	}
	*out = mode == XDP_FLAGS_SKB_MODE   ? state.skb_program_id
	       : mode == XDP_FLAGS_DRV_MODE ? state.drv_program_id
	                                    : state.hw_program_id;
	return std::nullopt;
}

} // namespace

// attachXdp(ifindex, mode, netns): a link.
static Napi::Value AttachXdp(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex, mode;
	Netns netns;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadXdpMode(env, info[1], &mode) ||
	    !Netns::Read(env, info[2], &netns))
		return env.Undefined();
	int link_fd = -1;
	auto attach = [&] {
		Zeroed<struct bpf_link_create_opts> opts;
		opts.flags = mode;
		link_fd = bpf_link_create(program.fd(), static_cast<int>(ifindex), BPF_XDP, &opts);
	};
	if (auto failure = netns.Run(attach))
		return failure->Throw(env);
	if (link_fd < 0)
		return Failure::FromErrno(link_fd, "bpf_link_create").Throw(env);
	return Link::New(env, UniqueFd(link_fd));
}

// attachXdpNetlink(ifindex, mode, netns, replaceProgramId | undefined): an attachment without a
// link, which the kernel keeps until somebody takes it off.
static Napi::Value AttachXdpNetlink(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	auto hook = std::make_unique<XdpNetlink>();
	UniqueFd replaced;
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadXdpMode(env, info[1], &hook->mode) ||
	    !Netns::Read(env, info[2], &hook->netns))
		return env.Undefined();
	if (!IsAbsent(env, info[3])) {
		uint32_t id;
		if (!ReadUint32(env, info[3], "replace", &id))
			return env.Undefined();
		replaced = UniqueFd(bpf_prog_get_fd_by_id(id));
		if (!replaced.valid())
			return Failure::FromErrno(errno, "bpf_prog_get_fd_by_id").Throw(env);
	}
	hook->ifindex = static_cast<int>(ifindex);
	hook->program = UniqueFd::Duplicate(program.fd());
	if (!hook->program.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	if (auto failure = hook->Set(program.fd(), replaced.get()))
		return failure->Throw(env);
	return Link::New(env, std::move(hook));
}

// adoptXdp(ifindex, mode, netns): the attachment of this program that another process made by netlink; ENOENT
// where there is none.
static Napi::Value AdoptXdp(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t ifindex;
	auto hook = std::make_unique<XdpNetlink>();
	if (!ReadUint32(env, info[0], "ifindex", &ifindex) || !ReadXdpMode(env, info[1], &hook->mode) ||
	    !Netns::Read(env, info[2], &hook->netns))
		return env.Undefined();
	hook->ifindex = static_cast<int>(ifindex);
	return Link::Adopt(env, program.fd(), std::move(hook));
}

void DefineXdpFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("xdpQuery", Napi::Function::New(env, XdpQuery, "xdpQuery"));
}

void DefineXdpAttach(ProgramMethods &methods)
{
	AddMethod<AttachXdp>(methods, "attachXdp");
	AddMethod<AttachXdpNetlink>(methods, "attachXdpNetlink");
	AddMethod<AdoptXdp>(methods, "adoptXdp");
}

} // namespace node_ebpf
