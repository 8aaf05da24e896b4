// SPDX-License-Identifier: Apache-2.0
#include "attach/kinds.h"

#include "base/arguments.h"
#include "handles/link.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <memory>
#include <sys/socket.h>

namespace node_ebpf
{

namespace
{

enum class Held { kNothing, kClassic, kProgram };

// A program on a socket of the caller's. The socket stays the caller's alone: a descriptor of our own would
// keep it open after its close(). The kernel does not tell which program a socket has, only that it is one.
struct SocketFilter final : LinklessAttachment {
	int fd = -1;
	uint64_t cookie =
	        0; // the kernel's number for the socket: another one may come to have the descriptor

	const char *type() const override { return "socket_filter"; }
	std::optional<Failure> Set(int program_fd, int expected_fd) override;
	std::optional<Failure> Remove() override;
	std::optional<Failure> ProgramId(uint32_t *out) const override;

	// Each returns 0 or a negative errno.
	static int Cookie(int fd, uint64_t *out);
	int Look(Held *out) const;
};

int SocketFilter::Cookie(int fd, uint64_t *out)
{
	socklen_t length = sizeof *out;
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, out, &length) ? -errno : 0;
}

// net/core/filter.c, sk_get_filter: the length of a classic filter, EACCES for what is none.
int SocketFilter::Look(Held *out) const
{
	*out = Held::kNothing;
	uint64_t now = 0;
	int error = Cookie(fd, &now);
	if (error == -EBADF || error == -ENOTSOCK || (!error && now != cookie))
		return 0; // the socket is closed
	if (error)
		return error;
	socklen_t length = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &length) == 0)
		*out = length ? Held::kClassic : Held::kNothing;
	else if (errno == EACCES)
		*out = Held::kProgram;
	else
		return -errno;
	return 0;
}

std::optional<Failure> SocketFilter::Set(int program_fd, int expected_fd)
{
	Held held;
	int error = Look(&held);
	if (!error && expected_fd < 0 && held != Held::kNothing)
		error = -EEXIST;
	else if (!error && expected_fd >= 0 && held != Held::kProgram)
		error = -ENOENT;
	if (!error && expected_fd >= 0) {
		uint32_t expected = 0, ours = 0;
		error = ProgramIdOf(expected_fd, &expected);
		if (!error)
			error = ProgramIdOf(program.get(), &ours);
		if (!error && expected != ours)
			error = -EEXIST;
	}
	if (!error &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program_fd, static_cast<socklen_t>(sizeof program_fd)))
		error = -errno;
	if (error)
		return Failure::FromErrno(error, "SO_ATTACH_BPF");
	return std::nullopt;
}

std::optional<Failure> SocketFilter::Remove()
{
	Held held;
	int error = Look(&held), unused = 0;
	if (!error && held != Held::kProgram)
		error = -ENOENT;
	if (!error &&
	    setsockopt(fd, SOL_SOCKET, SO_DETACH_BPF, &unused, static_cast<socklen_t>(sizeof unused)))
		error = -errno;
	if (error)
		return Failure::FromErrno(error, "SO_DETACH_BPF");
	return std::nullopt;
}

std::optional<Failure> SocketFilter::ProgramId(uint32_t *out) const
{
	*out = 0;
	Held held;
	int error = Look(&held);
	if (!error && held == Held::kProgram)
		error = ProgramIdOf(program.get(), out);
	if (error)
		return Failure::FromErrno(error, "SO_GET_FILTER");
	return std::nullopt;
}

} // namespace

// attachSocket(fd)
static Napi::Value AttachSocket(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t fd;
	if (!ReadUint32(env, info[0], "fd", &fd))
		return env.Undefined();
	auto filter = std::make_unique<SocketFilter>();
	filter->fd = static_cast<int>(fd);
	int error = SocketFilter::Cookie(filter->fd, &filter->cookie);
	if (error)
		return Failure::FromErrno(error, "SO_COOKIE").Throw(env);
	filter->program = UniqueFd::Duplicate(program.fd());
	if (!filter->program.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	if (auto failure = filter->Set(program.fd(), -1))
		return failure->Throw(env);
	return Link::New(env, std::move(filter));
}

void DefineSocketFilterAttach(ProgramMethods &methods)
{
	AddMethod<AttachSocket>(methods, "attachSocket");
}

} // namespace node_ebpf
