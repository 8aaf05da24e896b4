// SPDX-License-Identifier: Apache-2.0
#include "handles/pin.h"

#include "base/arguments.h"
#include "handles/link.h"
#include "handles/map.h"
#include "handles/program.h"
#include "base/unique_fd.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace node_ebpf
{

namespace
{

// BPF_OBJ_GET does not say what it opened, and BPF_OBJ_GET_INFO_BY_FD answers for any kind: only the name of
// the descriptor tells them apart (kernel/bpf/syscall.c, anon_inode_getfd).
const char *KindOf(int fd)
{
	char path[64], name[64];
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	ssize_t length = readlink(path, name, sizeof name - 1);
	if (length < 0)
		return nullptr;
	name[length] = '\0';
	return strstr(name, "bpf-map") ? "map" : strstr(name, "bpf-prog") ? "program" : "link";
}

// openPin(path, name | undefined, section | undefined): { kind, handle }. The kernel keeps 15 characters of a
// name and no section: who recorded them when it was pinned gives them again.
Napi::Value OpenPin(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	std::string path, name;
	ProgramInit program;
	if (!ReadString(env, info[0], "path", &path) ||
	    (!IsAbsent(env, info[1]) && !ReadString(env, info[1], "name", &name)) ||
	    (!IsAbsent(env, info[2]) && !ReadString(env, info[2], "section", &program.section)))
		return env.Undefined();
	UniqueFd fd(bpf_obj_get(path.c_str()));
	if (!fd.valid())
		return Failure::FromErrno(errno, "bpf_obj_get").Throw(env);
	const char *kind = KindOf(fd.get());
	if (!kind)
		return Failure::FromErrno(errno, "readlink").Throw(env);
	if (!strcmp(kind, "program")) {
		program.fd = std::move(fd);
		program.name = name;
	}
	Napi::Value handle = !strcmp(kind, "map")       ? Map::New(env, std::move(fd), std::move(name))
	                     : !strcmp(kind, "program") ? Program::New(env, std::move(program))
	                                                : Link::New(env, std::move(fd));
	if (env.IsExceptionPending())
		return env.Undefined();
	Napi::Object result = Napi::Object::New(env);
	result.Set("kind", kind);
	result.Set("handle", handle);
	return result;
}

} // namespace

Napi::Value Pin(const Napi::CallbackInfo &info, int fd)
{
	Napi::Env env = info.Env();
	std::string path;
	if (!ReadString(env, info[0], "path", &path))
		return env.Undefined();
	int error = bpf_obj_pin(fd, path.c_str());
	if (error)
		return Failure::FromErrno(error, "bpf_obj_pin").Throw(env);
	return env.Undefined();
}

void DefinePinFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("openPin", Napi::Function::New(env, OpenPin, "openPin"));
}

} // namespace node_ebpf
