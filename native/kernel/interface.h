// SPDX-License-Identifier: Apache-2.0
// Network interfaces: which there are, and whether they are up.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: interfaces(netns), setInterfaceUp(ifindex, netns)
void DefineInterfaceFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
