// SPDX-License-Identifier: Apache-2.0
// Network interfaces: which there are, whether they are up, and what XDP programs they hold.
#pragma once
#include "errors.h"
#include "netns.h"

#include <optional>

namespace node_ebpf
{

struct XdpState {
	uint8_t attach_mode = 0; // XDP_ATTACHED_*
	uint32_t skb_program_id = 0;
	uint32_t drv_program_id = 0;
	uint32_t hw_program_id = 0;
	uint64_t features = 0; // NETDEV_XDP_ACT_*; kernels before 6.3 do not tell, and read as none
};

std::optional<Failure> QueryXdp(const Netns &netns, int ifindex, XdpState *out);

// JS: interfaces(netns), setInterfaceUp(ifindex, netns), xdpQuery(ifindex, netns)
void DefineInterfaceFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
