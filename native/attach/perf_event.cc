// SPDX-License-Identifier: Apache-2.0
#include "attach/perf_event.h"

#include "attach/kinds.h"
#include "base/arguments.h"
#include "handles/link.h"
#include "base/options.h"
#include "handles/program.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <vector>

namespace node_ebpf
{

namespace
{

// Events of several CPUs or threads, attached and detached as one.
struct EventSet : LinklessAttachment {
	const char *type() const override { return "perf_event"; }
	std::optional<Failure> Set(int, int) override
	{
		return Failure::FromErrno(EOPNOTSUPP, "bpf_link_update");
	}
	std::optional<Failure> Remove() override
	{
		events.clear();
		return std::nullopt;
	}
	std::optional<Failure> ProgramId(uint32_t *out) const override
	{
		*out = events.empty() ? 0 : program_id;
		return std::nullopt;
	}

	std::vector<UniqueFd> events;
	uint32_t program_id = 0;
};

// Process or CPU numbers; -1 alone, for any, where the array is empty.
bool ReadNumbers(Napi::Env env, Napi::Value value, const char *name, std::vector<int> *out)
{
	if (!value.IsArray()) {
		Napi::TypeError::New(env, std::string("Expected an array for ") + name)
		        .ThrowAsJavaScriptException();
		return false;
	}
	Napi::Array numbers = value.As<Napi::Array>();
	for (uint32_t i = 0; i < numbers.Length(); i++) {
		uint32_t number;
		if (!ReadUint32(env, numbers.Get(i), name, &number))
			return false;
		out->push_back(static_cast<int>(number));
	}
	if (out->empty())
		out->push_back(-1);
	return true;
}

} // namespace

// Not bpf_program__attach_perf_event: libbpf's link keeps the event's descriptor next to the link's own and
// disables the event when it goes, whoever has pinned the link.
std::optional<Failure> AttachToEvent(int program_fd, struct perf_event_attr *attributes, pid_t pid, int cpu,
                                     std::optional<uint64_t> cookie, UniqueFd *out)
{
	attributes->size = sizeof *attributes;
	UniqueFd event(static_cast<int>(
	        syscall(SYS_perf_event_open, attributes, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
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

std::optional<Failure> AttachToTracepoint(int program_fd, uint32_t tracepoint, std::optional<uint64_t> cookie,
                                          UniqueFd *out)
{
	struct perf_event_attr attributes = {};
	attributes.type = PERF_TYPE_TRACEPOINT;
	attributes.config = tracepoint;
	// On CPU 0, and yet for all: a tracepoint's program runs wherever it is hit.
	return AttachToEvent(program_fd, &attributes, -1, 0, cookie, out);
}

// attachPerfEvent(type, config, frequency, threads, cpus, inherit): of each of the threads on each of the
// CPUs; an empty array is any. `inherit`: of the threads too that these start later (kernel 5.13).
static Napi::Value AttachPerfEvent(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	uint32_t type, config, frequency;
	std::vector<int> threads, cpus;
	if (!ReadUint32(env, info[0], "type", &type) || !ReadUint32(env, info[1], "config", &config) ||
	    !ReadUint32(env, info[2], "frequency", &frequency) ||
	    !ReadNumbers(env, info[3], "threads", &threads) || !ReadNumbers(env, info[4], "cpus", &cpus))
		return env.Undefined();
	auto set = std::make_unique<EventSet>();
	int error = ProgramIdOf(program.fd(), &set->program_id);
	if (error)
		return Failure::FromErrno(error, "bpf_prog_get_info_by_fd").Throw(env);
	std::optional<Failure> ended;
	for (int thread : threads) {
		for (int cpu : cpus) {
			struct perf_event_attr attributes = {};
			attributes.type = type;
			attributes.config = config;
			attributes.freq = 1;
			attributes.sample_freq = frequency;
			attributes.inherit = attributes.inherit_thread = ReadFlag(env, info[5]);
			UniqueFd event;
			auto failure =
			        AttachToEvent(program.fd(), &attributes, thread, cpu, std::nullopt, &event);
			if (!failure)
				set->events.push_back(std::move(event));
			else if (failure->errnum == ESRCH) // the others go on without it
				ended = failure;
			else
				return failure->Throw(env);
		}
	}
	if (set->events.empty())
		return ended->Throw(env);
	if (set->events.size() == 1) // the kernel's own link, which can be pinned
		return Link::New(env, std::move(set->events[0]), set->program_id);
	return Link::New(env, std::unique_ptr<LinklessAttachment>(std::move(set)));
}

void DefinePerfEventAttach(ProgramMethods &methods)
{
	AddMethod<AttachPerfEvent>(methods, "attachPerfEvent");
}

} // namespace node_ebpf
