// SPDX-License-Identifier: Apache-2.0
// One program's verdict by the verifier: loaded alone, and gone again.
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: dryRun(bytes, name, index): Promise<{ failure?, log, remaining }>
void DefineDryRunFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
