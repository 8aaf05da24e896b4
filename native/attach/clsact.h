// SPDX-License-Identifier: Apache-2.0
// Filters of the clsact qdisc: attachments without a bpf_link, beside those of others.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: createClsact(ifindex, netns), removeClsact(ifindex, netns)
void DefineClsactFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
