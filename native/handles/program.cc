// SPDX-License-Identifier: Apache-2.0
#include "handles/program.h"

#include "base/arguments.h"
#include "base/handle.h"
#include "handles/link.h"
#include "base/log.h"
#include "base/options.h"
#include "base/netns.h"
#include "handles/pin.h"
#include "base/type_tags.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

std::string TypeName(uint32_t type)
{
	const char *name = libbpf_bpf_prog_type_str(static_cast<enum bpf_prog_type>(type));
	return name ? name : std::to_string(type);
}

std::string Hex(const uint8_t *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	std::string text;
	for (size_t i = 0; i < size; i++) {
		text += digits[bytes[i] >> 4];
		text += digits[bytes[i] & 15];
	}
	return text;
}

int GetInfo(int fd, struct bpf_prog_info *out)
{
	*out = {};
	uint32_t length = sizeof *out;
	return bpf_prog_get_info_by_fd(fd, out, &length);
}

Napi::Object ToObject(Napi::Env env, const struct bpf_prog_info &prog_info)
{
	Napi::Object result = Napi::Object::New(env);
	result.Set("id", prog_info.id);
	result.Set("name", prog_info.name);
	result.Set("type", TypeName(prog_info.type));
	result.Set("tag", Hex(prog_info.tag, sizeof prog_info.tag));
	return result;
}

// programInfo(id): what the kernel knows of any program on this machine (needs CAP_SYS_ADMIN).
Napi::Value ProgramInfo(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t id;
	if (!ReadUint32(env, info[0], "id", &id))
		return env.Undefined();
	UniqueFd fd(bpf_prog_get_fd_by_id(id));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_prog_get_fd_by_id").Throw(env);
	struct bpf_prog_info prog_info;
	int error = GetInfo(fd.get(), &prog_info);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	return ToObject(env, prog_info);
}

Napi::Value Programs(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	Napi::Array result = Napi::Array::New(env);
	uint32_t id = 0, count = 0;
	int error;
	while ((error = bpf_prog_get_next_id(id, &id)) == 0) {
		UniqueFd fd(bpf_prog_get_fd_by_id(id));
		struct bpf_prog_info prog_info;
		// One that went away between its id and its descriptor is not listed.
		if (!fd.valid() && errno == ENOENT)
			continue;
		error = fd.valid() ? GetInfo(fd.get(), &prog_info) : -errno;
		if (error)
			break;
		result.Set(count++, ToObject(env, prog_info));
	}
	if (error != -ENOENT)
		return Failure::FromErrno(error, "bpf_prog_get_next_id").Throw(env);
	return result;
}

Napi::Value ProgramById(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t id;
	if (!ReadUint32(env, info[0], "id", &id))
		return env.Undefined();
	ProgramInit init;
	init.fd = UniqueFd(bpf_prog_get_fd_by_id(id));
	if (!init.fd.valid())
		return Failure::FromErrno(errno, "bpf_prog_get_fd_by_id").Throw(env);
	return Program::New(env, std::move(init));
}

// programExists(id): asked through the id before it, so that no reference is taken, not even for a moment.
Napi::Value ProgramExists(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t id;
	if (!ReadUint32(env, info[0], "id", &id))
		return env.Undefined();
	uint32_t next = 0;
	int error = id == 0 ? -ENOENT : bpf_prog_get_next_id(id - 1, &next);
	if (error && error != -ENOENT)
		return Failure::FromErrno(error, "bpf_prog_get_next_id").Throw(env);
	return Napi::Boolean::New(env, error == 0 && next == id);
}

} // namespace

int ProgramIdOf(int program_fd, uint32_t *out)
{
	struct bpf_prog_info prog_info;
	int error = GetInfo(program_fd, &prog_info);
	*out = prog_info.id;
	return error;
}

Napi::Function Program::Define(Napi::Env env, const ProgramMethods &methods)
{
	std::vector<PropertyDescriptor> all = {
	        InstanceMethod<&Program::Describe>("describe"), InstanceMethod<&Program::Stats>("stats"),
	        InstanceMethod<&Program::Run>("run"),           InstanceMethod<&Program::Pin>("pin"),
	        InstanceMethod<&Program::Close>("close"),
	};
	for (const napi_property_descriptor &method : methods)
		all.emplace_back(method);
	return DefineClass(env, "NativeProgram", all);
}

Napi::Value Program::New(Napi::Env env, ProgramInit init)
{
	return Construct<Program>(env, std::move(init));
}

Program *Program::FromValue(Napi::Env env, Napi::Value value)
{
	if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kProgramTag)) {
		Napi::TypeError::New(env, "Expected a program").ThrowAsJavaScriptException();
		return nullptr;
	}
	Program *program = Unwrap(value.As<Napi::Object>());
	if (!program) // the env is ending
		return nullptr;
	if (!program->fd_.valid()) {
		ThrowClosed(env, "program");
		return nullptr;
	}
	return program;
}

Program::Program(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Program>(info)
{
	ProgramInit init;
	if (!TakeInit(*this, info, &init))
		return;
	info.This().As<Napi::Object>().TypeTag(&kProgramTag);
	fd_ = std::move(init.fd);
	name_ = std::move(init.name);
	section_ = std::move(init.section);
	object_ = std::move(init.object);
	program_ = init.program;
	instructions_ = init.instructions;
}

Napi::Value Program::Describe(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	struct bpf_prog_info prog_info;
	int error = GetInfo(fd_.get(), &prog_info);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	Napi::Object result = Napi::Object::New(env);
	result.Set("name", name_.empty() ? std::string(prog_info.name) : name_);
	result.Set("section", section_);
	result.Set("type", TypeName(prog_info.type));
	result.Set("id", prog_info.id);
	result.Set("tag", Hex(prog_info.tag, sizeof prog_info.tag));
	result.Set("fd", fd_.get());
	if (instructions_)
		result.Set("instructions", static_cast<double>(instructions_));
	return result;
}

Napi::Value Program::Stats(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	struct bpf_prog_info prog_info;
	int error = GetInfo(fd_.get(), &prog_info);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	Napi::Object result = Napi::Object::New(env);
	result.Set("runCount", static_cast<double>(prog_info.run_cnt));
	result.Set("runTimeNs", static_cast<double>(prog_info.run_time_ns));
	result.Set("recursionMisses", static_cast<double>(prog_info.recursion_misses));
	result.Set("verifiedInstructions", prog_info.verified_insns);
	return result;
}

// run(data, dataOut, ctx, repeat, cpu | undefined)
Napi::Value Program::Run(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!fd_.valid())
		return ThrowClosed(env, "program");
	ByteSpan data, data_out, context;
	uint32_t repeat;
	if (!ReadOptionalBytes(env, info[0], "data", &data) ||
	    !ReadOptionalBytes(env, info[1], "dataOut", &data_out) ||
	    !ReadOptionalBytes(env, info[2], "ctx", &context) || !ReadUint32(env, info[3], "repeat", &repeat))
		return env.Undefined();
	Zeroed<struct bpf_test_run_opts> opts;
	opts.data_in = data.data;
	opts.data_size_in = static_cast<uint32_t>(data.size);
	opts.data_out = data_out.data;
	opts.data_size_out = static_cast<uint32_t>(data_out.size);
	opts.ctx_in = context.data;
	opts.ctx_size_in = static_cast<uint32_t>(context.size);
	opts.repeat = static_cast<int>(repeat);
	if (!IsAbsent(env, info[4])) {
		if (!ReadUint32(env, info[4], "cpu", &opts.cpu))
			return env.Undefined();
		opts.flags = BPF_F_TEST_RUN_ON_CPU;
	}
	int error = bpf_prog_test_run_opts(fd_.get(), &opts);
	// ENOSPC: it ran, and `dataOut` holds what fitted.
	if (error && !(error == -ENOSPC && data_out.data))
		return Failure::FromErrno(error, "bpf_prog_test_run").Throw(env);
	Napi::Object result = Napi::Object::New(env);
	result.Set("retval", opts.retval);
	result.Set("durationNs", opts.duration);
	result.Set("dataOutSize", opts.data_size_out);
	return result;
}

Napi::Value Program::Pin(const Napi::CallbackInfo &info)
{
	if (!fd_.valid())
		return ThrowClosed(info.Env(), "program");
	return node_ebpf::Pin(info, fd_.get());
}

Napi::Value Program::Close(const Napi::CallbackInfo &info)
{
	fd_.Reset();
	// libbpf's own descriptor would keep the program loaded until the whole object closes.
	if (program_)
		bpf_program__unload(program_);
	program_ = nullptr;
	object_.reset();
	return info.Env().Undefined();
}

void DefineProgramFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("programInfo", Napi::Function::New(env, ProgramInfo, "programInfo"));
	exports.Set("programExists", Napi::Function::New(env, ProgramExists, "programExists"));
	exports.Set("programs", Napi::Function::New(env, Programs, "programs"));
	exports.Set("programById", Napi::Function::New(env, ProgramById, "programById"));
}

} // namespace node_ebpf
