// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/addon.h"
#include "base/errors.h"
#include "base/netns.h"
#include "base/unique_fd.h"

#include <memory>
#include <optional>

struct bpf_link;
struct bpf_object;

namespace node_ebpf
{

// An attachment without a bpf_link. No descriptor ends it; every change names the program that it expects
// there, so that somebody else's is never touched.
struct LinklessAttachment {
	virtual ~LinklessAttachment() = default;

	virtual const char *type() const = 0;
	// Puts `program_fd` in the place of `expected_fd`, or of nothing where that is negative.
	virtual std::optional<Failure> Set(int program_fd, int expected_fd) = 0;
	virtual std::optional<Failure> Remove() = 0;
	// 0 where nothing is attached now.
	virtual std::optional<Failure> ProgramId(uint32_t *out) const = 0;
	// What info() tells beyond the type, the program and the interface.
	virtual void Describe(Napi::Object) const {}

	bool persist = false;
	UniqueFd program; // the one that is attached, as far as we know
};

// One made by netlink, on an interface: it outlives the process unless it is taken off.
struct NetlinkAttachment : LinklessAttachment {
	void Describe(Napi::Object out) const override { out.Set("ifindex", ifindex); }

	Netns netns;
	int ifindex = 0;
};

struct LibbpfLinkCloser {
	void operator()(struct bpf_link *link) const;
};
using LibbpfLink = std::unique_ptr<struct bpf_link, LibbpfLinkCloser>;

// One of the three. An attachment by netlink that no Link takes over is taken off again.
struct LinkInit {
	LinkInit() = default;
	LinkInit(LinkInit &&) = default;
	LinkInit &operator=(LinkInit &&) = default;
	~LinkInit();

	UniqueFd fd;
	std::unique_ptr<LinklessAttachment> linkless;
	// A probe is more than one descriptor: libbpf's link owns all of them, and `fd` is empty. It goes
	// before the object, which a USDT link writes to when it ends.
	std::shared_ptr<struct bpf_object> object;
	LibbpfLink probe;
	// Of a perf event or a probe: what info() says where the kernel has no link to ask. Such a link can
	// be neither updated nor detached, it ends by closing.
	uint32_t program_id = 0;
};

class Link : public Napi::ObjectWrap<Link>, public Detachable
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, UniqueFd fd);
	static Napi::Value New(Napi::Env env, std::unique_ptr<LinklessAttachment> linkless);
	// A handle of an attachment that is there already, of the program with this descriptor.
	static Napi::Value Adopt(Napi::Env env, int program_fd, std::unique_ptr<NetlinkAttachment> hook);
	// An attachment that may have no bpf_link: a perf event (before 5.15).
	static Napi::Value New(Napi::Env env, UniqueFd fd, uint32_t program_id);
	static Napi::Value New(Napi::Env env, LibbpfLink link, uint32_t program_id,
	                       std::shared_ptr<struct bpf_object> object = nullptr);

	explicit Link(const Napi::CallbackInfo &info);
	~Link() override;

	// Takes a linkless attachment off unless it is to stay; a link's descriptor does it by closing.
	void Release() override;

private:
	bool open() const { return fd_.valid() || linkless_ || probe_; }
	int fd() const;
	Napi::Value Info(const Napi::CallbackInfo &info);
	Napi::Value Update(const Napi::CallbackInfo &info);
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Persist(const Napi::CallbackInfo &info);
	Napi::Value Detach(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);
	Napi::Value OpenIterator(const Napi::CallbackInfo &info); // iterator.cc

	Napi::Env env_;
	UniqueFd fd_;
	std::unique_ptr<LinklessAttachment> linkless_;
	std::shared_ptr<struct bpf_object> object_;
	LibbpfLink probe_;
	uint32_t program_id_ = 0;
};

// JS: links(): every link on this machine, linkById(id) (both need CAP_SYS_ADMIN)
void DefineLinkFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
