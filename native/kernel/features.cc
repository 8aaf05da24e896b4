// SPDX-License-Identifier: Apache-2.0
#include "kernel/features.h"

#include "base/addon.h"
#include "base/arguments.h"
#include "base/log.h"
#include "base/options.h"
#include "base/promise_worker.h"
#include "base/unique_fd.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <linux/perf_event.h>
#include <optional>
#include <string>
#include <sys/syscall.h>
#include <vector>

namespace node_ebpf
{

namespace
{

// An attempt's answer: 0 where it worked, else the errno that the kernel gave, a positive one. lib/ decides
// what it means.
using Answer = int;

struct Named {
	std::string name;
	Answer answer;
};

struct Helper {
	uint32_t program_type;
	uint32_t id;
};

struct ProbeRequest {
	std::vector<Helper> helpers;
	std::optional<uint32_t> kprobe_pmu;
};

struct ProbeResult {
	std::vector<Named> program_types;
	std::vector<Named> map_types;
	std::vector<Answer> helpers;
	Answer jit = 0;
	uint32_t jited_bytes = 0;
	Answer tcx = 0;
	Answer xdp_link = 0;
	Answer batch = 0;
	Answer fentry = 0;
	std::optional<Answer> kprobe;
	Answer token = 0;
	Answer run_stats = 0;
	std::vector<LogLine> said; // for onLog()
};

// r0 = 0; exit
constexpr struct bpf_insn kReturnZero[] = {
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
};

// The kernel calls it in test runs of tracing programs and nowhere else (net/bpf/test_run.c, Linux 5.5).
constexpr char kQuietFunction[] = "bpf_fentry_test1";

UniqueFd Load(enum bpf_prog_type type, struct bpf_prog_load_opts *opts = nullptr)
{
	return UniqueFd(bpf_prog_load(type, nullptr, "GPL", kReturnZero, 2, opts));
}

// Of libbpf's own attempt, whose result folds every errno into "no". Its errno is the attempt's: what libbpf
// does after it (close, free) leaves errno alone.
Answer AnswerOf(int result)
{
	if (result > 0)
		return 0;
	if (result < 0)
		return -result;
	return errno ? errno : EINVAL;
}

Answer TryProgramType(enum bpf_prog_type type)
{
	errno = 0;
	return AnswerOf(libbpf_probe_bpf_prog_type(type, nullptr));
}

Answer TryMapType(enum bpf_map_type type)
{
	errno = 0;
	return AnswerOf(libbpf_probe_bpf_map_type(type, nullptr));
}

// libbpf 1.5 asks with a field that kernels before 6.9 do not know, and takes their EINVAL for "no". No value
// type is number 1: a kernel with the map type says ENOTSUPP, its own.
Answer TryStructOpsMap()
{
	constexpr int kKernelEnotsupp = 524;
	Zeroed<struct bpf_map_create_opts> opts;
	opts.btf_vmlinux_value_type_id = 1;
	UniqueFd map(bpf_map_create(BPF_MAP_TYPE_STRUCT_OPS, nullptr, sizeof(uint32_t), sizeof(uint32_t), 1,
	                            &opts));
	return map.valid() || errno == kKernelEnotsupp ? 0 : errno;
}

// libbpf says "supported" wherever the verifier's log does not name the helper, and it is empty where the
// kernel did not let the program come to the verifier, or does not know its type.
Answer TryHelper(const Helper &helper)
{
	errno = 0;
	enum bpf_prog_type type = static_cast<enum bpf_prog_type>(helper.program_type);
	int result = libbpf_probe_bpf_helper(type, static_cast<enum bpf_func_id>(helper.id), nullptr);
	if (result <= 0)
		return AnswerOf(result);
	if (errno != EINVAL && errno != EACCES)
		return errno;
	return TryProgramType(type) == EINVAL ? EINVAL : 0;
}

// libbpf asks with BPF_TRACE_FENTRY, which a kernel may refuse while it takes tp_btf and iterators: the type
// is there then. BTF type 1 is an integer, and the kernel says that it is no tracepoint.
Answer TryTracing()
{
	Answer fentry = TryProgramType(BPF_PROG_TYPE_TRACING);
	if (fentry == 0)
		return 0;
	char log[256] = "";
	Zeroed<struct bpf_prog_load_opts> opts;
	opts.expected_attach_type = BPF_TRACE_RAW_TP;
	opts.attach_btf_id = 1;
	opts.log_buf = log;
	opts.log_size = sizeof log;
	opts.log_level = 1;
	UniqueFd fd = Load(BPF_PROG_TYPE_TRACING, &opts);
	return strstr(log, "attach_btf_id 1 is not a typedef") ? 0 : fentry;
}

// Loading is not all: arm64 before 6.0 takes the program and cannot attach it.
Answer TryFentry()
{
	if (Answer answer = TryProgramType(BPF_PROG_TYPE_TRACING))
		return answer;
	int function = libbpf_find_vmlinux_btf_id(kQuietFunction, BPF_TRACE_FENTRY);
	if (function <= 0)
		return 0;
	Zeroed<struct bpf_prog_load_opts> opts;
	opts.expected_attach_type = BPF_TRACE_FENTRY;
	opts.attach_btf_id = static_cast<uint32_t>(function);
	UniqueFd program = Load(BPF_PROG_TYPE_TRACING, &opts);
	if (!program.valid())
		return errno;
	UniqueFd link(bpf_raw_tracepoint_open(nullptr, program.get()));
	return link.valid() ? 0 : errno;
}

// A disabled event of this thread alone.
Answer TryKprobe(uint32_t pmu)
{
	struct perf_event_attr attr = {};
	attr.size = sizeof attr;
	attr.type = pmu;
	attr.config1 = reinterpret_cast<uintptr_t>(kQuietFunction);
	attr.disabled = 1;
	UniqueFd event(static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1,
	                                        static_cast<unsigned long>(PERF_FLAG_FD_CLOEXEC))));
	// ENOENT: the kernel looked for the function, which is not in every build.
	return event.valid() || errno == ENOENT ? 0 : errno;
}

Answer TryJit(uint32_t *jited_bytes)
{
	UniqueFd program = Load(BPF_PROG_TYPE_SOCKET_FILTER);
	if (!program.valid())
		return errno;
	struct bpf_prog_info info = {};
	uint32_t length = sizeof info;
	if (int error = bpf_prog_get_info_by_fd(program.get(), &info, &length))
		return -error;
	*jited_bytes = info.jited_prog_len;
	return 0;
}

// No interface has ifindex 0: a kernel with TCX looks for it, one without does not know the attach type.
Answer TryTcx()
{
	UniqueFd program = Load(BPF_PROG_TYPE_SCHED_CLS);
	if (!program.valid())
		return errno;
	UniqueFd link(bpf_link_create(program.get(), 0, BPF_TCX_INGRESS, nullptr));
	return link.valid() || errno == ENODEV ? 0 : errno;
}

// The attach type came with the link (Linux 5.9). BPF_LINK_CREATE says EINVAL to a missing interface and to
// an unknown type alike (net/core/dev.c, bpf_xdp_link_attach); BPF_PROG_ATTACH looks for the program only
// after it knows the type.
Answer TryXdpLink()
{
	if (Answer answer = TryProgramType(BPF_PROG_TYPE_XDP))
		return answer;
	int error = bpf_prog_attach(-1, 0, BPF_XDP, 0);
	return error == -EBADF ? 0 : -error;
}

Answer TryBatch()
{
	uint32_t key = 0, value = 0, next = 0, count = 1;
	UniqueFd map(bpf_map_create(BPF_MAP_TYPE_HASH, nullptr, sizeof key, sizeof value, 1, nullptr));
	if (!map.valid())
		return errno;
	int error = bpf_map_lookup_batch(map.get(), nullptr, &next, &key, &value, &count, nullptr);
	return error == -ENOENT ? 0 : -error; // ENOENT: the walk came to the end of the empty map
}

// A kernel that has the command misses the file system.
Answer TryToken()
{
	UniqueFd token(bpf_token_create(-1, nullptr));
	return token.valid() || errno == EBADF ? 0 : errno;
}

// With any other type the kernel says EINVAL, as one without the command does: it is switched on, for a
// moment.
Answer TryRunStats()
{
	UniqueFd stats(bpf_enable_stats(BPF_STATS_RUN_TIME));
	return stats.valid() ? 0 : errno;
}

void Probe(const ProbeRequest &request, ProbeResult *out)
{
	LogCapture capture;
	// First, since libbpf raises the memlock limit of old kernels before the first program that it loads,
	// and leaves errno behind where it may not.
	out->jit = TryJit(&out->jited_bytes);
	for (uint32_t number = BPF_PROG_TYPE_UNSPEC + 1;; number++) {
		auto type = static_cast<enum bpf_prog_type>(number);
		const char *name = libbpf_bpf_prog_type_str(type);
		if (!name)
			break;
		Answer answer = type == BPF_PROG_TYPE_TRACING ? TryTracing() : TryProgramType(type);
		out->program_types.push_back({name, answer});
	}
	for (uint32_t number = BPF_MAP_TYPE_UNSPEC + 1;; number++) {
		auto type = static_cast<enum bpf_map_type>(number);
		const char *name = libbpf_bpf_map_type_str(type);
		if (!name)
			break;
		out->map_types.push_back(
		        {name, type == BPF_MAP_TYPE_STRUCT_OPS ? TryStructOpsMap() : TryMapType(type)});
	}
	for (const Helper &helper : request.helpers)
		out->helpers.push_back(TryHelper(helper));
	out->tcx = TryTcx();
	out->xdp_link = TryXdpLink();
	out->batch = TryBatch();
	out->fentry = TryFentry();
	if (request.kprobe_pmu)
		out->kprobe = TryKprobe(*request.kprobe_pmu);
	out->token = TryToken();
	out->run_stats = TryRunStats();
	out->said = capture.Rest();
}

Napi::Object Answers(Napi::Env env, const std::vector<Named> &list)
{
	Napi::Object result = Napi::Object::New(env);
	for (const Named &entry : list)
		result.Set(entry.name, entry.answer);
	return result;
}

class ProbeWorker : public PromiseWorker
{
public:
	ProbeWorker(Napi::Env env, ProbeRequest request)
	    : PromiseWorker(env, "node-ebpf:probe"), request_(std::move(request))
	{
	}

private:
	void Execute() override { Probe(request_, &result_); }
	void OnOK() override
	{
		Napi::Env env = Env();
		Addon::Of(env).Say(result_.said);
		Napi::Object result = Napi::Object::New(env);
		result.Set("programTypes", Answers(env, result_.program_types));
		result.Set("mapTypes", Answers(env, result_.map_types));
		Napi::Array helpers = Napi::Array::New(env, result_.helpers.size());
		for (size_t i = 0; i < result_.helpers.size(); i++)
			helpers.Set(static_cast<uint32_t>(i), result_.helpers[i]);
		result.Set("helpers", helpers);
		result.Set("jit", result_.jit);
		result.Set("jitedBytes", result_.jited_bytes);
		result.Set("tcx", result_.tcx);
		result.Set("xdpLink", result_.xdp_link);
		result.Set("batch", result_.batch);
		result.Set("fentry", result_.fentry);
		if (result_.kprobe)
			result.Set("kprobe", *result_.kprobe);
		result.Set("token", result_.token);
		result.Set("runStats", result_.run_stats);
		Resolve(result);
	}

	ProbeRequest request_;
	ProbeResult result_;
};

bool ReadRequest(const Napi::CallbackInfo &info, ProbeRequest *out)
{
	Napi::Env env = info.Env();
	if (!info[0].IsArray()) {
		Napi::TypeError::New(env, "Expected an array for helpers").ThrowAsJavaScriptException();
		return false;
	}
	Napi::Array pairs = info[0].As<Napi::Array>();
	for (uint32_t i = 0; i + 1 < pairs.Length(); i += 2) {
		Helper helper;
		if (!ReadUint32(env, pairs.Get(i), "program type", &helper.program_type) ||
		    !ReadUint32(env, pairs.Get(i + 1), "helper", &helper.id))
			return false;
		out->helpers.push_back(helper);
	}
	if (IsAbsent(env, info[1]))
		return true;
	uint32_t pmu;
	if (!ReadUint32(env, info[1], "kprobePmu", &pmu))
		return false;
	out->kprobe_pmu = pmu;
	return true;
}

// probe(helpers, kprobePmu | undefined): `helpers` holds pairs of a program type's number and a helper's.
Napi::Value ProbeKernel(const Napi::CallbackInfo &info)
{
	ProbeRequest request;
	if (!ReadRequest(info, &request))
		return info.Env().Undefined();
	return PromiseWorker::Start(std::make_unique<ProbeWorker>(info.Env(), std::move(request)));
}

} // namespace

void DefineProbeFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("probe", Napi::Function::New(env, ProbeKernel, "probe"));
}

} // namespace node_ebpf
