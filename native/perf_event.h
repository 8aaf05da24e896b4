// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "errors.h"
#include "unique_fd.h"

#include <cstdint>
#include <optional>

namespace node_ebpf
{

// Attaches a program to the tracepoint that tracefs gives this number. `out` is all there is to own: the
// kernel's link, which holds the event; or before 5.15, which has no such links, the event itself.
std::optional<Failure> AttachToTracepoint(int program_fd, uint32_t tracepoint, std::optional<uint64_t> cookie,
                                          UniqueFd *out);

} // namespace node_ebpf
