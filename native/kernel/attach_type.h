// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/napi_setup.h"

#include <linux/bpf.h>

namespace node_ebpf
{

// The kernel's word for where a program goes, such as cgroup_inet_ingress; false with an error pending for
// any other string.
bool ReadAttachType(Napi::Env env, Napi::Value value, enum bpf_attach_type *out);

} // namespace node_ebpf
