// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/errors.h"
#include "base/unique_fd.h"

#include <memory>
#include <string>

struct bpf_object;
struct bpf_program;

namespace node_ebpf
{

struct NetlinkAttachment;

struct ProgramInit {
	UniqueFd fd;
	std::string name;    // libbpf's; the kernel's own is cut at 15 characters
	std::string section; // empty for one that came from a pin or an id
	// libbpf's view of it, for attach(); the object lives as long as a program of it does.
	std::shared_ptr<struct bpf_object> object;
	struct bpf_program *program = nullptr;
	size_t instructions = 0; // given to the kernel by libbpf; 0 where that was not us
};

class Program : public Napi::ObjectWrap<Program>
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, ProgramInit init);
	// The program that `value` wraps, open; null with an error pending otherwise.
	static Program *FromValue(Napi::Env env, Napi::Value value);

	explicit Program(const Napi::CallbackInfo &info);
	int fd() const { return fd_.get(); }

private:
	Napi::Value Describe(const Napi::CallbackInfo &info);
	Napi::Value Stats(const Napi::CallbackInfo &info);
	Napi::Value Run(const Napi::CallbackInfo &info);
	Napi::Value AttachXdp(const Napi::CallbackInfo &info);             // xdp.cc
	Napi::Value AttachXdpNetlink(const Napi::CallbackInfo &info);      // xdp.cc
	Napi::Value AttachTcx(const Napi::CallbackInfo &info);             // tcx.cc
	Napi::Value AttachClsact(const Napi::CallbackInfo &info);          // clsact.cc
	Napi::Value AdoptXdp(const Napi::CallbackInfo &info);              // xdp.cc
	Napi::Value AdoptClsact(const Napi::CallbackInfo &info);           // clsact.cc
	Napi::Value AttachCgroup(const Napi::CallbackInfo &info);          // cgroup.cc
	Napi::Value AttachSocket(const Napi::CallbackInfo &info);          // socket_filter.cc
	Napi::Value AttachKprobe(const Napi::CallbackInfo &info);          // probe_attach.cc
	Napi::Value AttachUprobe(const Napi::CallbackInfo &info);          // probe_attach.cc
	Napi::Value AttachKprobeMulti(const Napi::CallbackInfo &info);     // kprobe_multi.cc
	Napi::Value AttachUsdt(const Napi::CallbackInfo &info);            // usdt.cc
	Napi::Value AttachPerfEvent(const Napi::CallbackInfo &info);       // perf_event.cc
	Napi::Value AttachIterator(const Napi::CallbackInfo &info);        // iterator.cc
	Napi::Value AttachNetns(const Napi::CallbackInfo &info);           // netns_link.cc
	Napi::Value AttachNetfilter(const Napi::CallbackInfo &info);       // netfilter.cc
	Napi::Value AttachSockmap(const Napi::CallbackInfo &info);         // sockmap.cc
	Napi::Value AttachSockmapLinkless(const Napi::CallbackInfo &info); // sockmap.cc
	Napi::Value Attach(const Napi::CallbackInfo &info);
	Napi::Value AttachTracepoint(const Napi::CallbackInfo &info);
	Napi::Value AttachRawTracepoint(const Napi::CallbackInfo &info);
	// A handle of an attachment of this program that is there already.
	Napi::Value Adopt(Napi::Env env, std::unique_ptr<NetlinkAttachment> hook) const;
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
	std::string name_;
	std::string section_;
	std::shared_ptr<struct bpf_object> object_;
	struct bpf_program *program_ = nullptr;
	size_t instructions_ = 0;
};

// The kernel's number of the program that a descriptor holds. Returns 0 or a negative errno.
int ProgramIdOf(int program_fd, uint32_t *out);

// JS: programInfo(id), programExists(id), programs(), programById(id)
void DefineProgramFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
