// SPDX-License-Identifier: Apache-2.0
#include "base/view.h"

#include <cstring>

namespace node_ebpf
{

namespace
{

constexpr size_t kLongestShown = 256;

} // namespace

std::string Shown(const char *name)
{
	size_t length = strnlen(name, kLongestShown + 1);
	return length > kLongestShown ? std::string(name, kLongestShown) + "…" : std::string(name, length);
}

} // namespace node_ebpf
