// SPDX-License-Identifier: Apache-2.0
// Reads an object file without a kernel: no bpf(2), no privilege.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: inspect(bytes), examine(bytes, kernelBtfPath | undefined): Promise
void DefineInspectFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
