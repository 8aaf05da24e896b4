// SPDX-License-Identifier: Apache-2.0
// A tag per wrapped class, so that an argument proves to be ours before it is unwrapped. Random, never
// reused.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

inline constexpr napi_type_tag kProgramTag = {0x9d1b6f0c5a3e4c77, 0xb2f48e6d01a95e3b};
inline constexpr napi_type_tag kMapTag = {0x9010b516ee315ca6, 0xfa16edca4d7e4ea2};

} // namespace node_ebpf
