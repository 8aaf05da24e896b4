// SPDX-License-Identifier: Apache-2.0
// Bytes of somebody else's, which must stay.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace node_ebpf
{

struct View {
	const uint8_t *data = nullptr;
	size_t size = 0;
};

// Names in a file may be megabytes long and overlap: messages have their heads.
std::string Shown(const char *name);

} // namespace node_ebpf
