// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/errors.h"
#include "base/unique_fd.h"

#include <memory>
#include <string>
#include <vector>

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

using ProgramMethods = std::vector<napi_property_descriptor>;

class Program : public Napi::ObjectWrap<Program>
{
public:
	// `methods` are those of other files. All are defined in one call, which an env that is ending
	// refuses as a whole.
	static Napi::Function Define(Napi::Env env, const ProgramMethods &methods);
	static Napi::Value New(Napi::Env env, ProgramInit init);
	// The program that `value` wraps, open; null with an error pending otherwise.
	static Program *FromValue(Napi::Env env, Napi::Value value);

	explicit Program(const Napi::CallbackInfo &info);
	int fd() const { return fd_.get(); }
	// libbpf's view of it, and the object that this lives in; null for a program that came from a pin or
	// an id.
	struct bpf_program *libbpf() const { return program_; }
	const std::shared_ptr<struct bpf_object> &object() const { return object_; }

private:
	Napi::Value Describe(const Napi::CallbackInfo &info);
	Napi::Value Stats(const Napi::CallbackInfo &info);
	Napi::Value Run(const Napi::CallbackInfo &info);
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Close(const Napi::CallbackInfo &info);

	UniqueFd fd_;
	std::string name_;
	std::string section_;
	std::shared_ptr<struct bpf_object> object_;
	struct bpf_program *program_ = nullptr;
	size_t instructions_ = 0;
};

// Adds a method to NativeProgram that is a function of another file. The function gets a program that is
// open: a call on a closed one has thrown before.
template <Napi::Value (*Function)(const Napi::CallbackInfo &, Program &)>
void AddMethod(ProgramMethods &methods, const char *name)
{
	napi_property_descriptor method{};
	method.utf8name = name;
	method.method = [](napi_env env, napi_callback_info arguments) -> napi_value {
		Napi::CallbackInfo info(env, arguments);
		Program *program = Program::FromValue(env, info.This());
		return program ? static_cast<napi_value>(Function(info, *program)) : nullptr;
	};
	methods.push_back(method);
}

// The kernel's number of the program that a descriptor holds. Returns 0 or a negative errno.
int ProgramIdOf(int program_fd, uint32_t *out);

// JS: programInfo(id), programExists(id), programs(), programById(id)
void DefineProgramFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
