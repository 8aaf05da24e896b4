// SPDX-License-Identifier: Apache-2.0
#include "perf_event.h"

#include "options.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace node_ebpf
{

// Not bpf_program__attach_tracepoint: libbpf's link keeps the event's descriptor next to the link's own and
// disables the event when it goes, whoever has pinned the link.
std::optional<Failure> AttachToTracepoint(int program_fd, uint32_t tracepoint, std::optional<uint64_t> cookie,
                                          UniqueFd *out)
{
	struct perf_event_attr attributes = {};
	attributes.type = PERF_TYPE_TRACEPOINT;
	attributes.size = sizeof attributes;
	attributes.config = tracepoint;
	// On CPU 0, and yet for all: a tracepoint's program runs wherever it is hit.
	UniqueFd event(
	        static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
	if (!event.valid())
		return Failure::FromErrno(errno, "perf_event_open");
	Zeroed<struct bpf_link_create_opts> opts;
	opts.perf_event.bpf_cookie = cookie.value_or(0);
	UniqueFd link(bpf_link_create(program_fd, event.get(), BPF_PERF_EVENT, &opts));
	if (!link.valid()) {
		if (errno != EINVAL || cookie)
			return Failure::FromErrno(errno, "bpf_link_create");
		if (ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program_fd))
			return Failure::FromErrno(errno, "PERF_EVENT_IOC_SET_BPF");
	}
	if (ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0))
		return Failure::FromErrno(errno, "PERF_EVENT_IOC_ENABLE");
	*out = link.valid() ? std::move(link) : std::move(event);
	return std::nullopt;
}

} // namespace node_ebpf
