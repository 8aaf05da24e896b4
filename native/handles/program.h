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

// Adds a method to the prototype of NativeProgram, for a function of another file. The function gets a
// program that is open: a call on a closed one has thrown before.
template <Napi::Value (*Function)(const Napi::CallbackInfo &, Program &)>
void DefineMethod(Napi::Object prototype, const char *name)
{
	auto call = [](const Napi::CallbackInfo &info) -> Napi::Value {
		Program *program = Program::FromValue(info.Env(), info.This());
		return program ? Function(info, *program) : info.Env().Undefined();
	};
	prototype.DefineProperty(Napi::PropertyDescriptor::Function(prototype.Env(), prototype, name, call));
}

// The kernel's number of the program that a descriptor holds. Returns 0 or a negative errno.
int ProgramIdOf(int program_fd, uint32_t *out);

// JS: programInfo(id), programExists(id), programs(), programById(id)
void DefineProgramFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
