// SPDX-License-Identifier: Apache-2.0
#include "base/netns.h"

#include "base/arguments.h"

#include <cerrno>
#include <csignal>
#include <pthread.h>
#include <sched.h>

namespace node_ebpf
{

namespace
{

struct Visit {
	int fd;
	const std::function<void()> *work;
	int error;
};

void *Enter(void *argument)
{
	auto *visit = static_cast<Visit *>(argument);
	if (setns(visit->fd, CLONE_NEWNET) != 0)
		visit->error = errno;
	else
		(*visit->work)();
	return nullptr;
}

} // namespace

bool Netns::Read(Napi::Env env, Napi::Value value, Netns *out)
{
	*out = Netns();
	if (IsAbsent(env, value))
		return true;
	out->other_ = true;
	if (value.IsNumber()) {
		uint32_t fd;
		if (!ReadUint32(env, value, "netns", &fd))
			return false;
		out->fd_ = UniqueFd::Duplicate(static_cast<int>(fd));
	} else {
		std::string path;
		if (!ReadString(env, value, "netns", &path))
			return false;
		// O_NONBLOCK: a FIFO of that name would block the JS thread.
		out->fd_ = UniqueFd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	}
	if (out->fd_.valid())
		return true;
	Failure::FromErrno(errno, "netns").Throw(env);
	return false;
}

std::optional<Failure> Netns::Current(Netns *out)
{
	*out = Netns();
	out->other_ = true;
	out->fd_ = UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	if (!out->fd_.valid())
		return Failure::FromErrno(errno, "netns");
	return std::nullopt;
}

std::optional<Failure> Netns::Duplicate(Netns *out) const
{
	if (!other_)
		return Current(out);
	*out = Netns();
	out->other_ = true;
	out->fd_ = UniqueFd::Duplicate(fd_.get());
	if (!out->fd_.valid())
		return Failure::FromErrno(errno, "netns");
	return std::nullopt;
}

std::optional<Failure> Netns::Run(const std::function<void()> &work) const
{
	if (!other_) {
		work();
		return std::nullopt;
	}
	Visit visit{fd_.get(), &work, 0};
	// The thread inherits the mask: a signal meant for the program must not land on a thread that is
	// about to end.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_t thread;
	int error = pthread_create(&thread, nullptr, Enter, &visit);
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	if (error)
		return Failure::FromErrno(error, "pthread_create");
	pthread_join(thread, nullptr);
	if (visit.error)
		return Failure::FromErrno(visit.error, "setns");
	return std::nullopt;
}

} // namespace node_ebpf
