// SPDX-License-Identifier: Apache-2.0
// TCX: bpf_links on an interface's ingress and egress, in an order (kernel 6.6).
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: tcxPrograms(ifindex, direction, netns)
void DefineTcxFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
