// SPDX-License-Identifier: Apache-2.0
// A bpf(2) call whose arguments are written once, and made a thousand times a second.
#pragma once
#include <cerrno>
#include <cstring>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace node_ebpf
{

// After a system call the processor mispredicts the return of every function that was under way: on a read of
// 2 µs each of them is a quarter of a percent. libbpf has three between its caller and syscall(); what is
// inlined has none.
struct BoundCommand {
	union bpf_attr attr;

	BoundCommand() { memset(&attr, 0, sizeof attr); }
	// 0 or -errno.
	__attribute__((always_inline)) int Call(enum bpf_cmd command)
	{
		return syscall(SYS_bpf, command, &attr, sizeof attr) < 0 ? -errno : 0;
	}
};

} // namespace node_ebpf
