// SPDX-License-Identifier: Apache-2.0
// TC: what an interface's ingress and egress hold, asked by netlink. Programs get there by TCX links (tcx.h)
// or as filters of a clsact qdisc (clsact.h).
#pragma once
#include "base/napi_setup.h"

#include <bpf/libbpf.h>
#include <string>
#include <vector>

namespace node_ebpf
{

struct TcFilter {
	std::string kind;
	uint32_t priority = 0;
	uint32_t handle = 0;
	uint32_t protocol = 0;
	uint32_t program_id = 0; // 0: not a BPF program
};

// ingress or egress; false with a JS error pending otherwise.
bool ReadDirection(napi_env env, napi_value value, bpf_tc_attach_point *out);

// Each returns 0 or a negative errno.
// The kind of the qdisc that holds the interface's ingress and egress filters: clsact, ingress (which has no
// egress), or empty where there is none.
int QdiscKind(int ifindex, std::string *out);
// Everybody's, in the order in which they run; appended to `out`.
int ListFilters(int ifindex, bpf_tc_attach_point direction, std::vector<TcFilter> *out);

// JS: tcFilters(ifindex, direction, netns), tcQdisc(ifindex, netns)
void DefineTcFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
