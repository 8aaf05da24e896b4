// SPDX-License-Identifier: Apache-2.0
// A bpf(2) call whose arguments are written once, and made a thousand times a second.
#pragma once
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace node_ebpf
{

// After a system call the processor mispredicts the return of every function that was under way, and where
// the kernel has its own page tables it finds every page anew: on a read of 2 µs that is a quarter of a
// percent for each function, and more for its page. libbpf has three between its caller and syscall(), and
// libc has that one and errno. What is inlined has none.
struct BoundCommand {
	union bpf_attr attr;

	BoundCommand() { memset(&attr, 0, sizeof attr); }
	// 0 or -errno. The kernel takes `size` bytes of it, and what it does not get is zero.
	__attribute__((always_inline)) int Call(enum bpf_cmd command, size_t size)
	{
#ifdef __x86_64__
		long result;
		__asm__ volatile("syscall"
		                 : "=a"(result)
		                 : "a"(SYS_bpf), "D"(command), "S"(&attr), "d"(size)
		                 : "rcx", "r11", "memory");
		return static_cast<int>(result < 0 ? result : 0);
#else
		return syscall(SYS_bpf, command, &attr, size) < 0 ? -errno : 0;
#endif
	}
	__attribute__((always_inline)) int Lookup()
	{
		return Call(BPF_MAP_LOOKUP_ELEM, offsetof(union bpf_attr, flags) + sizeof attr.flags);
	}
	__attribute__((always_inline)) int Run()
	{
		return Call(BPF_PROG_TEST_RUN, offsetof(union bpf_attr, test) + sizeof attr.test);
	}
	__attribute__((always_inline)) int LookupBatch()
	{
		return Call(BPF_MAP_LOOKUP_BATCH, offsetof(union bpf_attr, batch) + sizeof attr.batch);
	}
};

} // namespace node_ebpf
