// SPDX-License-Identifier: Apache-2.0
// XDP on an interface: by bpf_link, or by netlink, which outlives descriptors.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: xdpQuery(ifindex, netns)
void DefineXdpFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
