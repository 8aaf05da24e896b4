// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstring>

namespace node_ebpf
{

// LIBBPF_OPTS in C++17, which has no designated initialisers. libbpf refuses options with a set byte past
// their last field, padding included, and a copy need not keep padding: they are zeroed where they stand, and
// never copied.
template <typename Options> struct Zeroed : Options {
	Zeroed()
	{
		memset(static_cast<void *>(this), 0, sizeof *this);
		this->sz = sizeof(Options);
	}
	Zeroed(const Zeroed &) = delete;
	Zeroed &operator=(const Zeroed &) = delete;
};

} // namespace node_ebpf
