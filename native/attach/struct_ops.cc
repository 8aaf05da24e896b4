// SPDX-License-Identifier: Apache-2.0
// A struct of functions that the kernel calls, such as a TCP congestion control: a map whose value is the
// struct.
#include "base/addon.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/log.h"
#include "handles/map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

// SEC(".struct_ops"): registered by writing the map's value, and kept by the kernel until it is deleted,
// whoever ends meanwhile. (SEC(".struct_ops.link"), kernel 6.4, has a link.)
struct StructOpsAttachment : LinklessAttachment {
	const char *type() const override { return "struct_ops"; }
	std::optional<Failure> Set(int, int) override
	{
		return Failure::FromErrno(EOPNOTSUPP, "bpf_link_update");
	}
	std::optional<Failure> Remove() override
	{
		uint32_t zero = 0;
		int error = map.valid() ? bpf_map_delete_elem(map.get(), &zero) : 0;
		if (error)
			return Failure::FromErrno(error, "bpf_map_delete_elem");
		map.Reset();
		return std::nullopt;
	}
	std::optional<Failure> ProgramId(uint32_t *out) const override
	{
		*out = 0; // many, or none
		return std::nullopt;
	}
	void Describe(Napi::Object out) const override { out.Set("mapId", map.valid() ? map_id : 0); }

	UniqueFd map;
	uint32_t map_id = 0;
};

} // namespace

// attach(): of a struct_ops map that libbpf has loaded.
Napi::Value Map::Attach(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	if (!state_->struct_ops)
		return Failure::FromErrno(EOPNOTSUPP, "bpf_map__attach_struct_ops").Throw(env);
	auto hook = std::make_unique<StructOpsAttachment>();
	UniqueFd own = UniqueFd::Duplicate(state_->fd.get());
	if (!own.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	LogCapture capture;
	LibbpfLink link(bpf_map__attach_struct_ops(state_->struct_ops));
	if (!link)
		return Failure::FromErrno(errno, "bpf_map__attach_struct_ops", capture.Take()).Throw(env);
	Addon::Of(env).Say(capture.Rest());
	if (bpf_map__map_flags(state_->struct_ops) & BPF_F_LINK)
		return Link::New(env, std::move(link), 0);
	bpf_link__disconnect(link.get()); // its descriptor is the map's, and not its own
	hook->map = std::move(own);
	hook->map_id = state_->shape.id;
	return Link::New(env, std::unique_ptr<LinklessAttachment>(std::move(hook)));
}

} // namespace node_ebpf
