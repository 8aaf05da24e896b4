// SPDX-License-Identifier: Apache-2.0
// One error shape leaves native code: an Error with { code?, errno?, operation, log? }. lib/core/errors.ts
// makes the public classes of it. Nothing is thrown through C++: a failure is returned, then thrown as the
// last act of a call.
#pragma once
#include "base/napi_setup.h"

#include <string>
#include <vector>

namespace node_ebpf
{

// libc's words for a positive errno, and the limit where one was met.
std::string DescribeErrno(int errnum);

struct Failure {
	const char *code = nullptr; // ERR_*; null where errnum says it all
	int errnum = 0;             // positive
	std::string operation;      // the libbpf function or system call
	std::string message;
	std::vector<std::string> log; // libbpf's words, verifier log included

	// `error` is a negative errno, as libbpf returns it.
	static Failure FromErrno(int error, std::string operation, std::vector<std::string> log = {});

	Napi::Error ToError(Napi::Env env) const;
	// Leaves the error pending in `env`.
	Napi::Value Throw(Napi::Env env) const;
};

// For a call on a handle that was closed: lib/ turns it into EbpfStateError.
Napi::Value ThrowClosed(Napi::Env env, const char *noun);

} // namespace node_ebpf
