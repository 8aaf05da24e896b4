// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstring>

namespace node_ebpf {

// LIBBPF_OPTS in C++17, which has no designated initialisers: zeroed, padding too, and with its size.
template <typename Options> Options MakeOptions()
{
	Options options;
	memset(&options, 0, sizeof options);
	options.sz = sizeof options;
	return options;
}

} // namespace node_ebpf
