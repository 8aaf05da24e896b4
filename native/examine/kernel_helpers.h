// SPDX-License-Identifier: Apache-2.0
// What the kernel says of its helper functions, by number.
#pragma once
#include <cstdint>

namespace node_ebpf
{

// "bpf_map_lookup_elem" for 1; null for a number that linux/bpf.h of the libbpf built in does not have.
const char *HelperName(int32_t id);

// Whether only programs with a GPL-compatible licence may call it.
bool HelperIsGplOnly(int32_t id);

} // namespace node_ebpf
