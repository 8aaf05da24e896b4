// SPDX-License-Identifier: Apache-2.0
#include "kernel/privileges.h"

#include "base/arguments.h"
#include "base/errors.h"
#include "base/unique_fd.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <grp.h>
#include <sys/syscall.h>

namespace node_ebpf
{

namespace
{

// dropPrivileges(uid, gid): libc's wrappers and not the system calls, which change one thread. glibc and musl
// make every thread that they know do the same; lib/ looks at each one afterwards.
Napi::Value DropPrivileges(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t uid, gid;
	if (!ReadUint32(env, info[0], "uid", &uid) || !ReadUint32(env, info[1], "gid", &gid))
		return env.Undefined();
	if (setgroups(0, nullptr) != 0)
		return Failure::FromErrno(errno, "setgroups").Throw(env);
	if (setresgid(gid, gid, gid) != 0)
		return Failure::FromErrno(errno, "setresgid").Throw(env);
	if (setresuid(uid, uid, uid) != 0)
		return Failure::FromErrno(errno, "setresuid").Throw(env);
	return env.Undefined();
}

// refusals(): what bpf(2) says, 0 for success, to a command that no kernel has (EINVAL; a seccomp filter
// refuses it unseen) and to a map that takes CAP_BPF and nothing else.
Napi::Value Refusals(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	union bpf_attr attr = {};
	long answer = syscall(SYS_bpf, -1, &attr, sizeof attr);
	int command = answer < 0 ? errno : 0;
	UniqueFd map(bpf_map_create(BPF_MAP_TYPE_QUEUE, nullptr, 0, sizeof(uint32_t), 1, nullptr));
	int queue = map.valid() ? 0 : errno;
	Napi::Object result = Napi::Object::New(env);
	result.Set("command", command);
	result.Set("map", queue);
	return result;
}

// A mount that is attached nowhere, and gone with its descriptor: for machines where securityfs is not
// mounted.
int ReadLockdown(std::string *out)
{
	constexpr unsigned kCreate = 6; // FSCONFIG_CMD_CREATE
	constexpr unsigned kCloseOnExec = 1;
	UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "securityfs", kCloseOnExec)));
	if (!context.valid() || syscall(SYS_fsconfig, context.get(), kCreate, nullptr, nullptr, 0) != 0)
		return errno;
	UniqueFd mount(static_cast<int>(syscall(SYS_fsmount, context.get(), kCloseOnExec, 0)));
	if (!mount.valid())
		return errno;
	UniqueFd file(openat(mount.get(), "lockdown", O_RDONLY | O_CLOEXEC));
	if (!file.valid())
		return errno;
	char text[128];
	ssize_t length = read(file.get(), text, sizeof text);
	if (length < 0)
		return errno;
	out->assign(text, static_cast<size_t>(length));
	return 0;
}

// lockdown(): the text of securityfs's file, which marks one of its words, or an errno (needs CAP_SYS_ADMIN,
// Linux 5.2).
Napi::Value Lockdown(const Napi::CallbackInfo &info)
{
	std::string text;
	if (int error = ReadLockdown(&text))
		return Napi::Number::New(info.Env(), error);
	return Napi::String::New(info.Env(), text);
}

// describeErrno(errno): the same words for what Node's own calls met.
Napi::Value ErrnoText(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	uint32_t errnum;
	if (!ReadUint32(env, info[0], "errno", &errnum))
		return env.Undefined();
	return Napi::String::New(env, DescribeErrno(static_cast<int>(errnum)));
}

} // namespace

void DefinePrivilegesFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("describeErrno", Napi::Function::New(env, ErrnoText, "describeErrno"));
	exports.Set("dropPrivileges", Napi::Function::New(env, DropPrivileges, "dropPrivileges"));
	exports.Set("lockdown", Napi::Function::New(env, Lockdown, "lockdown"));
	exports.Set("refusals", Napi::Function::New(env, Refusals, "refusals"));
}

} // namespace node_ebpf
