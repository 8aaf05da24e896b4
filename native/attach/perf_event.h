// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/errors.h"
#include "base/unique_fd.h"

#include <cstdint>
#include <optional>
#include <sys/types.h>

struct perf_event_attr;

namespace node_ebpf
{

// Opens an event and attaches a program to it. `out` is all there is to own: the kernel's link, which holds
// the event; or before 5.15, which has no such links, the event itself.
std::optional<Failure> AttachToEvent(int program_fd, struct perf_event_attr *attributes, pid_t pid, int cpu,
                                     std::optional<uint64_t> cookie, UniqueFd *out);

// Attaches a program to the tracepoint that tracefs gives this number.
std::optional<Failure> AttachToTracepoint(int program_fd, uint32_t tracepoint, std::optional<uint64_t> cookie,
                                          UniqueFd *out);

} // namespace node_ebpf
