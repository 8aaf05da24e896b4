// SPDX-License-Identifier: Apache-2.0
// Programs of a sockmap or sockhash, which run on the data of every socket in it.
#include "attach/kinds.h"

#include "base/arguments.h"
#include "kernel/attach_type.h"
#include "handles/link.h"
#include "handles/map.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

// Before 6.10 the map itself holds the program, until it is taken off or the map goes.
struct SockmapAttachment : LinklessAttachment {
	const char *type() const override { return "sockmap"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override
	{
		uint32_t expected = 0, found = 0;
		int error = expected_fd < 0 ? 0 : ProgramIdOf(expected_fd, &expected);
		if (error)
			return Failure::FromErrno(error, "bpf_prog_get_info_by_fd");
		if (auto failure = ProgramId(&found))
			return failure;
		// The kernel has no way to say this with the call below, which replaces what is there.
		if (found != expected)
			return Failure::FromErrno(EEXIST, "bpf_prog_attach");
		error = bpf_prog_attach(program_fd, map.get(), attach_type, 0);
		if (error)
			return Failure::FromErrno(error, "bpf_prog_attach");
		return std::nullopt;
	}
	std::optional<Failure> Remove() override
	{
		// The kernel compares: a program that took our place stays.
		int error = bpf_prog_detach2(program.get(), map.get(), attach_type);
		if (error)
			return Failure::FromErrno(error, "bpf_prog_detach");
		return std::nullopt;
	}
	std::optional<Failure> ProgramId(uint32_t *out) const override
	{
		uint32_t flags = 0, count = 1;
		*out = 0;
		int error = bpf_prog_query(map.get(), attach_type, 0, &flags, out, &count);
		if (error == -EINVAL) // before 5.17 nobody can ask
			error = program.valid() ? ProgramIdOf(program.get(), out) : 0;
		if (error)
			return Failure::FromErrno(error, "bpf_prog_query");
		if (count == 0)
			*out = 0;
		return std::nullopt;
	}

	UniqueFd map;
	enum bpf_attach_type attach_type;
};

} // namespace

// attachSockmap(map, attachType): a link (kernel 6.10).
static Napi::Value AttachSockmap(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	bpf_attach_type type;
	Map *map = Map::FromValue(env, info[0]);
	if (!map || !ReadAttachType(env, info[1], &type))
		return env.Undefined();
	Zeroed<struct bpf_link_create_opts> opts;
	UniqueFd link(bpf_link_create(program.fd(), map->fd(), type, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

// attachSockmapLinkless(map, attachType): EEXIST where the map has such a program.
static Napi::Value AttachSockmapLinkless(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	auto hook = std::make_unique<SockmapAttachment>();
	Map *map = Map::FromValue(env, info[0]);
	if (!map || !ReadAttachType(env, info[1], &hook->attach_type))
		return env.Undefined();
	hook->map = UniqueFd::Duplicate(map->fd());
	UniqueFd own = UniqueFd::Duplicate(program.fd());
	if (!hook->map.valid() || !own.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	if (auto failure = hook->Set(program.fd(), -1))
		return failure->Throw(env);
	hook->program = std::move(own);
	return Link::New(env, std::unique_ptr<LinklessAttachment>(std::move(hook)));
}

void DefineSockmapAttach(ProgramMethods &methods)
{
	AddMethod<AttachSockmap>(methods, "attachSockmap");
	AddMethod<AttachSockmapLinkless>(methods, "attachSockmapLinkless");
}

} // namespace node_ebpf
