// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"

#include <cerrno>
#include <cstring>
#include <sys/resource.h>

namespace node_ebpf
{

namespace
{

// The kernel's own ENOTSUPP reaches user space from some map operations; libc has no text for it.
constexpr int kKernelEnotsupp = 524;

// What strerror_r() returns tells which one it is. GNU's gives the text, which may not be in the buffer.
[[maybe_unused]] const char *TextOf(const char *text, const char *)
{
	return text;
}

// POSIX's, which musl has, gives 0 or what went wrong.
[[maybe_unused]] const char *TextOf(int, const char *buffer)
{
	return buffer;
}

} // namespace

std::string DescribeErrno(int errnum)
{
	if (errnum == kKernelEnotsupp)
		return "operation not supported";
	char buffer[128] = "";
	std::string text = TextOf(strerror_r(errnum, buffer, sizeof buffer), buffer);
	struct rlimit limit;
	// Named here: to read it from /proc takes a descriptor, which there is none of.
	if (errnum == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		text += ": this process may have " + std::to_string(limit.rlim_cur) + " (ulimit -n)";
	return text;
}

Failure Failure::FromErrno(int error, std::string operation, std::vector<std::string> log)
{
	Failure failure;
	failure.errnum = error < 0 ? -error : error;
	failure.operation = std::move(operation);
	failure.message = DescribeErrno(failure.errnum);
	failure.log = std::move(log);
	return failure;
}

Napi::Error Failure::ToError(Napi::Env env) const
{
	Napi::Error error = Napi::Error::New(env, message);
	Napi::Object object = error.Value();
	if (code)
		object.Set("code", code);
	if (errnum)
		object.Set("errno", errnum);
	object.Set("operation", operation);
	if (!log.empty()) {
		Napi::Array lines = Napi::Array::New(env, log.size());
		for (size_t i = 0; i < log.size(); i++)
			lines.Set(static_cast<uint32_t>(i), log[i]);
		object.Set("log", lines);
	}
	return error;
}

Napi::Value Failure::Throw(Napi::Env env) const
{
	ToError(env).ThrowAsJavaScriptException();
	return env.Undefined();
}

Napi::Value ThrowClosed(Napi::Env env, const char *noun)
{
	Failure failure;
	failure.code = "ERR_EBPF_CLOSED";
	failure.operation = noun;
	failure.message = std::string("the ") + noun + " is closed";
	return failure.Throw(env);
}

} // namespace node_ebpf
