// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/napi_setup.h"

struct bpf_object;

namespace node_ebpf
{

// The global variables of an opened object that BTF knows: { name, section, offset, size, kind } each, where
// kind is 'signed', 'unsigned', 'boolean', 'float' or 'bytes'.
Napi::Array DescribeGlobals(Napi::Env env, const struct bpf_object *object);

} // namespace node_ebpf
