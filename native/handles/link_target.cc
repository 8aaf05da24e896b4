// SPDX-License-Identifier: Apache-2.0
#include "handles/link_target.h"

#include <bpf/bpf.h>

namespace node_ebpf
{

namespace
{

// The kernel copies names into a buffer that a second query brings, and cuts them to it.
template <typename SetBuffer> std::string Name(int fd, SetBuffer &&set_buffer)
{
	char name[256] = "";
	struct bpf_link_info link_info = {};
	uint32_t length = sizeof link_info;
	set_buffer(&link_info, reinterpret_cast<uint64_t>(name), static_cast<uint32_t>(sizeof name));
	int error = bpf_link_get_info_by_fd(fd, &link_info, &length);
	name[sizeof name - 1] = '\0';
	return error ? "" : name;
}

// Since 6.6 the kernel says which event it is.
std::string PerfTarget(int fd, const struct bpf_link_info &link_info)
{
	switch (link_info.perf_event.type) {
	case BPF_PERF_EVENT_TRACEPOINT:
		return Name(fd, [](auto *out, uint64_t name, uint32_t size) {
			out->perf_event.tracepoint.tp_name = name;
			out->perf_event.tracepoint.name_len = size;
		});
	case BPF_PERF_EVENT_KPROBE:
	case BPF_PERF_EVENT_KRETPROBE:
		return Name(fd, [](auto *out, uint64_t name, uint32_t size) {
			out->perf_event.kprobe.func_name = name;
			out->perf_event.kprobe.name_len = size;
		});
	case BPF_PERF_EVENT_UPROBE:
	case BPF_PERF_EVENT_URETPROBE:
		return Name(fd, [](auto *out, uint64_t name, uint32_t size) {
			out->perf_event.uprobe.file_name = name;
			out->perf_event.uprobe.name_len = size;
		});
	default:
		return "";
	}
}

} // namespace

std::string LinkTarget(int fd, const struct bpf_link_info &link_info)
{
	switch (link_info.type) {
	case BPF_LINK_TYPE_RAW_TRACEPOINT:
		return Name(fd, [](auto *out, uint64_t name, uint32_t size) {
			out->raw_tracepoint.tp_name = name;
			out->raw_tracepoint.tp_name_len = size;
		});
	case BPF_LINK_TYPE_PERF_EVENT:
		return PerfTarget(fd, link_info);
	case BPF_LINK_TYPE_XDP:
		return "ifindex " + std::to_string(link_info.xdp.ifindex);
	case BPF_LINK_TYPE_TCX:
		return "ifindex " + std::to_string(link_info.tcx.ifindex);
	case BPF_LINK_TYPE_NETKIT:
		return "ifindex " + std::to_string(link_info.netkit.ifindex);
	case BPF_LINK_TYPE_TRACING:
		return "BTF type " + std::to_string(link_info.tracing.target_btf_id);
	case BPF_LINK_TYPE_CGROUP:
		return "cgroup " + std::to_string(link_info.cgroup.cgroup_id);
	case BPF_LINK_TYPE_NETNS:
		return "network namespace " + std::to_string(link_info.netns.netns_ino);
	case BPF_LINK_TYPE_NETFILTER:
		return "netfilter hook " + std::to_string(link_info.netfilter.hooknum);
	case BPF_LINK_TYPE_SOCKMAP:
		return "map " + std::to_string(link_info.sockmap.map_id);
	case BPF_LINK_TYPE_STRUCT_OPS:
		return "map " + std::to_string(link_info.struct_ops.map_id);
	case BPF_LINK_TYPE_ITER:
		return Name(fd, [](auto *out, uint64_t name, uint32_t size) {
			out->iter.target_name = name;
			out->iter.target_name_len = size;
		});
	default:
		return "";
	}
}

} // namespace node_ebpf
