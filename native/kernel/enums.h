// SPDX-License-Identifier: Apache-2.0
// The names that the running kernel has for numbers.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: kernelEnum(name): Promise<{ names, values }>
void DefineKernelEnumFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
