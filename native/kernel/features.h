// SPDX-License-Identifier: Apache-2.0
// What this kernel can do, found out by doing it. Nothing is attached to anything, and every descriptor is
// closed again.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: probe(helpers, kprobePmu | undefined): Promise
void DefineProbeFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
