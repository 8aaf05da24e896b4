// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "errors.h"
#include "unique_fd.h"

#include <memory>
#include <string>

struct bpf_object;
struct bpf_program;

namespace node_ebpf
{

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
	Napi::Value AttachXdp(const Napi::CallbackInfo &info);
	Napi::Value AttachXdpNetlink(const Napi::CallbackInfo &info);
	// tc.cc
	Napi::Value AttachTcx(const Napi::CallbackInfo &info);
	Napi::Value AttachClsact(const Napi::CallbackInfo &info);
	Napi::Value Attach(const Napi::CallbackInfo &info);
	Napi::Value AttachTracepoint(const Napi::CallbackInfo &info);
	Napi::Value AttachRawTracepoint(const Napi::CallbackInfo &info);
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
	std::string name_;
	std::string section_;
	std::shared_ptr<struct bpf_object> object_;
	struct bpf_program *program_ = nullptr;
	size_t instructions_ = 0;
};

// JS: programInfo(id), programExists(id), programs(), programById(id)
void DefineProgramFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
