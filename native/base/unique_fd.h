// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace node_ebpf
{

// Owns one file descriptor.
class UniqueFd
{
public:
	UniqueFd() = default;
	explicit UniqueFd(int fd) : fd_(fd) {}
	UniqueFd(UniqueFd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
	UniqueFd &operator=(UniqueFd &&other) noexcept
	{
		Reset(std::exchange(other.fd_, -1));
		return *this;
	}
	~UniqueFd() { Reset(); }

	// A second descriptor of the same kernel object; invalid, with errno set, where there is none to be
	// had.
	static UniqueFd Duplicate(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

	bool valid() const { return fd_ >= 0; }
	int get() const { return fd_; }
	void Reset(int fd = -1)
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = fd;
	}

private:
	int fd_ = -1;
};

} // namespace node_ebpf
