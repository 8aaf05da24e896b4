// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/errors.h"

namespace node_ebpf
{

// pin(path) of a map, a program or a link that is open as `fd`.
Napi::Value Pin(const Napi::CallbackInfo &info, int fd);

// JS: openPin(path): { kind, handle }
void DefinePinFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
