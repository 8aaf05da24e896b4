// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "errors.h"
#include "unique_fd.h"

#include <string>

namespace node_ebpf
{

struct ProgramInit {
	UniqueFd fd;
	std::string name;        // libbpf's; the kernel's own is cut at 15 characters
	std::string section;     // empty for one that came from an id
	size_t instructions = 0; // given to the kernel by libbpf; 0 where that was not us
};

class Program : public Napi::ObjectWrap<Program>
{
public:
	static Napi::Function Define(Napi::Env env);
	static Napi::Value New(Napi::Env env, UniqueFd fd, std::string name, std::string section,
	                       size_t instructions = 0);
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
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
	std::string name_;
	std::string section_;
	size_t instructions_ = 0;
};

// JS: programInfo(id), programExists(id)
void DefineProgramFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
