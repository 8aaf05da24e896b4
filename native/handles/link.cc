// SPDX-License-Identifier: Apache-2.0
#include "handles/link.h"

#include "base/arguments.h"
#include "base/handle.h"
#include "handles/link_target.h"
#include "base/options.h"
#include "handles/pin.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

int GetInfo(int fd, struct bpf_link_info *out)
{
	*out = {};
	uint32_t length = sizeof *out;
	return bpf_link_get_info_by_fd(fd, out, &length);
}

Napi::Object ToObject(Napi::Env env, int fd, const struct bpf_link_info &link_info)
{
	Napi::Object result = Napi::Object::New(env);
	const char *type = libbpf_bpf_link_type_str(static_cast<enum bpf_link_type>(link_info.type));
	result.Set("type", type ? std::string(type) : std::to_string(link_info.type));
	result.Set("id", link_info.id);
	result.Set("programId", link_info.prog_id);
	result.Set("target", LinkTarget(fd, link_info));
	if (link_info.type == BPF_LINK_TYPE_XDP)
		result.Set("ifindex", link_info.xdp.ifindex);
	else if (link_info.type == BPF_LINK_TYPE_TCX)
		result.Set("ifindex", link_info.tcx.ifindex);
	else if (link_info.type == BPF_LINK_TYPE_CGROUP)
		result.Set("cgroupId", static_cast<double>(link_info.cgroup.cgroup_id));
	else if (link_info.type == BPF_LINK_TYPE_NETNS)
		result.Set("netnsInode", link_info.netns.netns_ino);
	else if (link_info.type == BPF_LINK_TYPE_SOCKMAP)
		result.Set("mapId", link_info.sockmap.map_id);
	else if (link_info.type == BPF_LINK_TYPE_STRUCT_OPS)
		result.Set("mapId", link_info.struct_ops.map_id);
	return result;
}

Napi::Value Links(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Napi::Array result = Napi::Array::New(env);
	uint32_t id = 0, count = 0;
	int error;
	while ((error = bpf_link_get_next_id(id, &id)) == 0) {
		UniqueFd fd(bpf_link_get_fd_by_id(id));
		struct bpf_link_info link_info;
		// One that went away between its id and its descriptor is not listed, nor one that is still
		// being made (kernel/bpf/syscall.c, bpf_link_by_id).
		if (!fd.valid() && (errno == ENOENT || errno == EAGAIN))
			continue;
		error = fd.valid() ? GetInfo(fd.get(), &link_info) : -errno;
		if (error)
			break;
		result.Set(count++, ToObject(env, fd.get(), link_info));
	}
	if (error != -ENOENT)
		return Failure::FromErrno(error, "bpf_link_get_next_id").Throw(env);
	return result;
}

Napi::Value LinkById(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t id;
	if (!ReadUint32(env, info[0], "id", &id))
		return env.Undefined();
	UniqueFd fd(bpf_link_get_fd_by_id(id));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_link_get_fd_by_id").Throw(env);
	return Link::New(env, std::move(fd));
}

} // namespace

void LibbpfLinkCloser::operator()(struct bpf_link *link) const
{
	bpf_link__destroy(link);
}

Napi::Function Link::Define(Napi::Env env)
{
	return DefineClass(env, "NativeLink",
	                   {
	                           InstanceMethod<&Link::Info>("info"),
	                           InstanceMethod<&Link::Update>("update"),
	                           InstanceMethod<&Link::Pin>("pin"),
	                           InstanceMethod<&Link::Persist>("persist"),
	                           InstanceMethod<&Link::Detach>("detach"),
	                           InstanceMethod<&Link::Close>("close"),
	                           InstanceMethod<&Link::OpenIterator>("openIterator"),
	                   });
}

Napi::Value Link::New(Napi::Env env, UniqueFd fd)
{
	LinkInit init;
	init.fd = std::move(fd);
	return Construct<Link>(env, std::move(init));
}

Napi::Value Link::New(Napi::Env env, std::unique_ptr<LinklessAttachment> linkless)
{
	LinkInit init;
	init.linkless = std::move(linkless);
	return Construct<Link>(env, std::move(init));
}

Napi::Value Link::New(Napi::Env env, UniqueFd fd, uint32_t program_id)
{
	LinkInit init;
	init.fd = std::move(fd);
	init.program_id = program_id;
	return Construct<Link>(env, std::move(init));
}

Napi::Value Link::New(Napi::Env env, LibbpfLink link, uint32_t program_id,
                      std::shared_ptr<struct bpf_object> object)
{
	// A USDT link is many probes and says 0, which is somebody else's: no descriptor of libbpf's is
	// below 3.
	int fd = bpf_link__fd(link.get());
	struct bpf_link_info link_info;
	if (fd > 2 && GetInfo(fd, &link_info) == 0 && link_info.type != BPF_LINK_TYPE_PERF_EVENT) {
		UniqueFd own = UniqueFd::Duplicate(fd);
		if (!own.valid())
			return Failure::FromErrno(errno, "dup").Throw(env);
		return New(env, std::move(own)); // libbpf's own is closed, and ours keeps the attachment
	}
	LinkInit init;
	init.object = std::move(object);
	init.probe = std::move(link);
	init.program_id = program_id;
	return Construct<Link>(env, std::move(init));
}

LinkInit::~LinkInit()
{
	if (linkless && !linkless->persist)
		linkless->Remove();
}

Napi::Value Link::Adopt(Napi::Env env, int program_fd, std::unique_ptr<NetlinkAttachment> hook)
{
	hook->persist = true; // it was there before, and stays if this handle is not made
	hook->program = UniqueFd::Duplicate(program_fd);
	if (!hook->program.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	uint32_t own, found;
	int error = ProgramIdOf(program_fd, &own);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	if (auto failure = hook->ProgramId(&found))
		return failure->Throw(env);
	if (found != own)
		return Failure::FromErrno(ENOENT, "adopt").Throw(env);
	return New(env, std::move(hook));
}

Link::Link(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Link>(info), env_(info.Env())
{
	LinkInit init;
	if (!TakeInit(*this, info, &init))
		return;
	fd_ = std::move(init.fd);
	linkless_ = std::move(init.linkless);
	object_ = std::move(init.object);
	probe_ = std::move(init.probe);
	program_id_ = init.program_id;
	if (linkless_)
		Addon::Of(env_).Track(this);
}

Link::~Link()
{
	if (!linkless_)
		return;
	Addon::Of(env_).Forget(this);
	Release();
}

void Link::Release()
{
	if (linkless_ && !linkless_->persist)
		linkless_->Remove(); // nobody is left to tell; a program that is no longer ours stays
	linkless_.reset();
	fd_.Reset();
}

int Link::fd() const
{
	int fd = probe_ ? bpf_link__fd(probe_.get()) : fd_.get();
	return fd > 2 ? fd : -1;
}

// info(): { type, programId, id?, target?, ifindex?, cgroupId?, netnsInode?, mapId?, priority?, handle? };
// programId 0: nothing is attached there now.
Napi::Value Link::Info(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "link");
	if (linkless_) {
		uint32_t program_id = 0;
		if (auto failure = linkless_->ProgramId(&program_id))
			return failure->Throw(env);
		Napi::Object result = Napi::Object::New(env);
		result.Set("type", linkless_->type());
		result.Set("programId", program_id);
		linkless_->Describe(result);
		return result;
	}
	struct bpf_link_info link_info;
	int error = fd() >= 0 ? GetInfo(fd(), &link_info) : -EINVAL;
	if (error == -EINVAL && program_id_) {
		Napi::Object result = Napi::Object::New(env);
		// Many probes, and none of their links is the whole.
		result.Set("type", probe_ && fd() < 0 ? "usdt" : "perf_event");
		result.Set("programId", program_id_);
		return result;
	}
	if (error)
		return Failure::FromErrno(error, "bpf_link_get_info_by_fd").Throw(env);
	return ToObject(env, fd(), link_info);
}

// update(program, expected | undefined)
Napi::Value Link::Update(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "link");
	Program *program = Program::FromValue(env, info[0]);
	if (!program)
		return env.Undefined();
	Program *expected = nullptr;
	if (!IsAbsent(env, info[1]) && !(expected = Program::FromValue(env, info[1])))
		return env.Undefined();
	if (linkless_) {
		UniqueFd next = UniqueFd::Duplicate(program->fd());
		if (!next.valid())
			return Failure::FromErrno(errno, "dup").Throw(env);
		if (auto failure =
		            linkless_->Set(next.get(), expected ? expected->fd() : linkless_->program.get()))
			return failure->Throw(env);
		linkless_->program = std::move(next);
		return env.Undefined();
	}
	if (program_id_)
		return Failure::FromErrno(EOPNOTSUPP, "bpf_link_update").Throw(env);
	Zeroed<struct bpf_link_update_opts> opts;
	if (expected) {
		opts.flags = BPF_F_REPLACE;
		opts.old_prog_fd = static_cast<uint32_t>(expected->fd());
	}
	int error = bpf_link_update(fd_.get(), program->fd(), &opts);
	if (error)
		return Failure::FromErrno(error, "bpf_link_update").Throw(env);
	return env.Undefined();
}

// pin(path). What has no bpf_link, or needs more than its link, cannot outlive the process this way.
Napi::Value Link::Pin(const Napi::CallbackInfo &info)
{
	if (!open())
		return ThrowClosed(info.Env(), "link");
	if (linkless_ || probe_)
		return Failure::FromErrno(EOPNOTSUPP, "bpf_obj_pin").Throw(info.Env());
	return node_ebpf::Pin(info, fd_.get());
}

// persist(): a netlink attachment stays when its env ends. A link's way to that is its pin.
Napi::Value Link::Persist(const Napi::CallbackInfo &info)
{
	if (!open())
		return ThrowClosed(info.Env(), "link");
	if (!linkless_)
		return Failure::FromErrno(EOPNOTSUPP, "persist").Throw(info.Env());
	linkless_->persist = true;
	return info.Env().Undefined();
}

// detach(): whatever comes, the handle stays usable for close().
Napi::Value Link::Detach(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "link");
	if (linkless_) {
		if (auto failure = linkless_->Remove())
			return failure->Throw(env);
		Addon::Of(env).Forget(this);
		linkless_.reset();
		return env.Undefined();
	}
	// BPF_LINK_DETACH (5.9) takes effect before it returns; the last close of a descriptor may be
	// deferred.
	int error = program_id_ ? -EOPNOTSUPP : bpf_link_detach(fd_.get());
	if (error)
		return Failure::FromErrno(error, "bpf_link_detach").Throw(env);
	return env.Undefined();
}

// close(): gives up the handle and leaves the attachment to whoever else holds it.
Napi::Value Link::Close(const Napi::CallbackInfo &info)
{
	fd_.Reset();
	probe_.reset();
	object_.reset();
	if (linkless_) {
		Addon::Of(info.Env()).Forget(this);
		linkless_.reset();
	}
	return info.Env().Undefined();
}

void DefineLinkFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("links", Napi::Function::New(env, Links, "links"));
	exports.Set("linkById", Napi::Function::New(env, LinkById, "linkById"));
}

} // namespace node_ebpf
