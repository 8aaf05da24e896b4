// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/napi_setup.h"

namespace node_ebpf
{

// JS: dropPrivileges(uid, gid), lockdown(), refusals()
void DefinePrivilegesFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
