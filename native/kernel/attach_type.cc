// SPDX-License-Identifier: Apache-2.0
#include "kernel/attach_type.h"

#include "base/arguments.h"
#include "base/errors.h"

#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

bool ReadAttachType(Napi::Env env, Napi::Value value, enum bpf_attach_type *out)
{
	std::string name;
	if (!ReadString(env, value, "attachType", &name))
		return false;
	for (int type = 0; type < __MAX_BPF_ATTACH_TYPE; type++) {
		const char *known = libbpf_bpf_attach_type_str(static_cast<bpf_attach_type>(type));
		if (known && name == known) {
			*out = static_cast<bpf_attach_type>(type);
			return true;
		}
	}
	Failure::FromErrno(EINVAL, "libbpf_bpf_attach_type_str").Throw(env);
	return false;
}

} // namespace node_ebpf
