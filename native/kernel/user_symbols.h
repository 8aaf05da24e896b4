// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: userSymbol(path, name): offsets, userSymbols(path): names, userProbes(path): "provider:name"
void DefineUserSymbolFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
