// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "errors.h"
#include "netns.h"
#include "unique_fd.h"

#include <memory>
#include <optional>

namespace node_ebpf
{

// An attachment made by netlink. It has no descriptor and outlives the process unless it is taken off; every
// change names the program that it expects there, so that somebody else's is never touched.
struct NetlinkAttachment {
	virtual ~NetlinkAttachment() = default;

	virtual const char *type() const = 0;
	// Puts `program_fd` in the place of `expected_fd`, or of nothing where that is negative.
	virtual std::optional<Failure> Set(int program_fd, int expected_fd) = 0;
	virtual std::optional<Failure> Remove() = 0;
	// 0 where nothing is attached now.
	virtual std::optional<Failure> ProgramId(uint32_t *out) const = 0;
	// What info() tells beyond the type, the program and the interface.
	virtual void Describe(Napi::Object) const {}

	Netns netns;
	int ifindex = 0;
	bool persist = false;
	UniqueFd program; // the one that is attached, as far as we know
};

struct XdpNetlink final : NetlinkAttachment {
	uint32_t mode = 0; // XDP_FLAGS_*_MODE

	const char *type() const override { return "xdp"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override;
	std::optional<Failure> Remove() override;
	std::optional<Failure> ProgramId(uint32_t *out) const override;
};

// One of the two.
struct LinkInit {
	UniqueFd fd;
	std::unique_ptr<NetlinkAttachment> netlink;
};

class Link : public Napi::ObjectWrap<Link>
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, UniqueFd fd);
	static Napi::Value New(Napi::Env env, std::unique_ptr<NetlinkAttachment> netlink);

	explicit Link(const Napi::CallbackInfo &info);
	~Link() override;

	// Takes a netlink attachment off unless it is to stay; a link's descriptor does it by closing.
	void Release();

private:
	bool open() const { return fd_.valid() || netlink_; }
	Napi::Value Info(const Napi::CallbackInfo &info);
	Napi::Value Update(const Napi::CallbackInfo &info);
	Napi::Value Detach(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	Napi::Env env_;
	UniqueFd fd_;
	std::unique_ptr<NetlinkAttachment> netlink_;
};

// JS: links(): every link on this machine (needs CAP_SYS_ADMIN)
void DefineLinkFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
