// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <linux/bpf.h>
#include <string>

namespace node_ebpf
{

// What a link is attached to, in the kernel's own terms: "sys_enter", "ifindex 3"; empty where it says
// nothing.
std::string LinkTarget(int fd, const struct bpf_link_info &link_info);

} // namespace node_ebpf
