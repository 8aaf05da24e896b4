// SPDX-License-Identifier: Apache-2.0
// The kinds of attachment. Each has a file, which adds its methods to NativeProgram; a new
// kind adds its name to this list.
#pragma once
#include "handles/program.h"

#define NODE_EBPF_ATTACH_KINDS(KIND)                                                                         \
	KIND(Cgroup)                                                                                         \
	KIND(Clsact)                                                                                         \
	KIND(Iterator)                                                                                       \
	KIND(KprobeMulti)                                                                                    \
	KIND(Netfilter)                                                                                      \
	KIND(Netns)                                                                                          \
	KIND(PerfEvent)                                                                                      \
	KIND(Probe)                                                                                          \
	KIND(Section)                                                                                        \
	KIND(SocketFilter)                                                                                   \
	KIND(Sockmap)                                                                                        \
	KIND(Tcx)                                                                                            \
	KIND(Tracepoint)                                                                                     \
	KIND(Usdt)                                                                                           \
	KIND(Xdp)

namespace node_ebpf
{

#define NODE_EBPF_DECLARE_KIND(kind) void Define##kind##Attach(ProgramMethods &methods);
NODE_EBPF_ATTACH_KINDS(NODE_EBPF_DECLARE_KIND)
#undef NODE_EBPF_DECLARE_KIND

} // namespace node_ebpf
