// SPDX-License-Identifier: Apache-2.0
// TC: programs on an interface's ingress and egress, by TCX links (kernel 6.6) or as filters of a clsact
// qdisc.
#pragma once
#include "napi_setup.h"

namespace node_ebpf
{

// JS: tcxPrograms(ifindex, direction, netns), tcFilters(ifindex, direction, netns), tcQdisc(ifindex, netns),
// createClsact(ifindex, netns), removeClsact(ifindex, netns)
void DefineTcFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
