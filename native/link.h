// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "errors.h"
#include "netns.h"
#include "unique_fd.h"

#include <optional>

namespace node_ebpf
{

// An XDP attachment made by netlink. It has no descriptor and outlives the process unless it is taken off;
// every change names the program that it expects there, so that somebody else's is never touched.
struct XdpNetlink {
	Netns netns;
	int ifindex = 0;
	uint32_t mode = 0; // XDP_FLAGS_*_MODE
	bool persist = false;
	UniqueFd program; // the one that is attached, as far as we know

	// Puts `program_fd` in the place of `expected_fd`, or of nothing where that is negative.
	std::optional<Failure> Set(int program_fd, int expected_fd) const;
	std::optional<Failure> Remove() const;
	std::optional<Failure> ProgramId(uint32_t *out) const;
};

struct LinkInit {
	UniqueFd fd;
	std::optional<XdpNetlink> xdp;
};

class Link : public Napi::ObjectWrap<Link>
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, UniqueFd fd);
	static Napi::Value New(Napi::Env env, XdpNetlink xdp);

	explicit Link(const Napi::CallbackInfo &info);
	~Link() override;

	// Takes a netlink attachment off unless it is to stay; a link's descriptor does it by closing.
	void Release();

private:
	bool open() const { return fd_.valid() || xdp_; }
	Napi::Value Info(const Napi::CallbackInfo &info);
	Napi::Value Update(const Napi::CallbackInfo &info);
	Napi::Value Detach(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	Napi::Env env_;
	UniqueFd fd_;
	std::optional<XdpNetlink> xdp_;
};

// JS: links(): every link on this machine (needs CAP_SYS_ADMIN)
void DefineLinkFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
