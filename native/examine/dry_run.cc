// SPDX-License-Identifier: Apache-2.0
#include "examine/dry_run.h"

#include "base/addon.h"
#include "base/arguments.h"
#include "handles/load.h"
#include "base/log.h"
#include "base/options.h"
#include "base/promise_worker.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <chrono>
#include <thread>

namespace node_ebpf
{

namespace
{

// kernel/bpf/verifier.c: BPF_LOG_LEVEL1 tells every instruction that it walks, BPF_LOG_STATS the costs alone.
constexpr uint32_t kInstructions = 1;
constexpr uint32_t kCosts = 4;
// RCU frees a program some milliseconds after its last reference went (raw tracepoints: some 300).
constexpr std::chrono::milliseconds kGoneWithin{2000};
// V8 has no string of half a gigabyte; what refuses a program is at the end.
constexpr size_t kLongestLine = 16 << 20;

struct Verdict {
	std::optional<Failure> failure;
	std::vector<std::string> log;
	std::vector<LogLine> said;            // for onLog()
	std::vector<uint32_t> programs, maps; // the kernel's ids; in the end, those that it still knows
};

void NoteIds(struct bpf_object *object, Verdict *out)
{
	struct bpf_program *program;
	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {};
		uint32_t length = sizeof info;
		if (bpf_program__fd(program) >= 0 &&
		    !bpf_prog_get_info_by_fd(bpf_program__fd(program), &info, &length))
			out->programs.push_back(info.id);
	}
	struct bpf_map *map;
	bpf_object__for_each_map(map, object)
	{
		struct bpf_map_info info = {};
		uint32_t length = sizeof info;
		if (bpf_map__fd(map) >= 0 && !bpf_map_get_info_by_fd(bpf_map__fd(map), &info, &length))
			out->maps.push_back(info.id);
	}
}

// Loads the program of this number and no other, with its maps, and closes all of it again.
void LoadAlone(const LoadRequest &request, uint32_t index, uint32_t log_level, Verdict *out)
{
	LogCapture capture(true);
	Zeroed<struct bpf_object_open_opts> opts;
	opts.object_name = request.name.c_str();
	opts.kernel_log_level = log_level;
	int error = 0;
	ObjectPointer object = OpenObject(request.bytes, &opts, &error);
	if (!object) {
		out->failure = Failure::FromErrno(error, "bpf_object__open_mem");
		out->log = capture.Take();
		return;
	}
	uint32_t count = 0;
	struct bpf_program *program;
	bpf_object__for_each_program(program, object.get())
	        bpf_program__set_autoload(program, count++ == index);
	// A map with LIBBPF_PIN_BY_NAME would be taken from bpffs, or stay there.
	struct bpf_map *map;
	bpf_object__for_each_map(map, object.get()) bpf_map__set_pin_path(map, nullptr);
	error = bpf_object__load(object.get());
	if (error)
		out->failure = Failure::FromErrno(error, "bpf_object__load");
	else
		NoteIds(object.get(), out);
	if (!error)
		out->said = capture.Said();
	out->log = capture.Take();
}

bool HasVerifierLog(const std::vector<std::string> &log)
{
	for (const std::string &line : log) {
		if (line.find("-- BEGIN PROG LOAD LOG --") != std::string::npos)
			return true;
	}
	return false;
}

// Asked through the id before it, so that no reference is taken. Without CAP_SYS_ADMIN the kernel does not
// say: then nothing is known to remain.
bool Remains(int (*next)(uint32_t, uint32_t *), uint32_t id)
{
	uint32_t found = 0;
	return next(id - 1, &found) == 0 && found == id;
}

void WaitUntilGone(Verdict *verdict)
{
	auto deadline = std::chrono::steady_clock::now() + kGoneWithin;
	auto drop = [](int (*next)(uint32_t, uint32_t *), std::vector<uint32_t> *ids) {
		while (!ids->empty() && !Remains(next, ids->back()))
			ids->pop_back();
		return ids->empty();
	};
	for (;;) {
		bool gone = drop(bpf_prog_get_next_id, &verdict->programs);
		gone = drop(bpf_map_get_next_id, &verdict->maps) && gone;
		if (gone || std::chrono::steady_clock::now() >= deadline)
			return;
		std::this_thread::sleep_for(std::chrono::milliseconds(2));
	}
}

void KeepEnds(std::vector<std::string> *lines)
{
	for (std::string &line : *lines) {
		if (line.size() > kLongestLine)
			line.erase(0, line.size() - kLongestLine);
	}
}

class DryRunWorker : public PromiseWorker
{
public:
	DryRunWorker(Napi::Env env, LoadRequest request, uint32_t index)
	    : PromiseWorker(env, "node-ebpf:dry-run"), request_(std::move(request)), index_(index)
	{
	}

private:
	void Execute() override
	{
		LoadAlone(request_, index_, kCosts, &verdict_);
		// The costs alone do not say what led to a refusal.
		if (verdict_.failure && HasVerifierLog(verdict_.log)) {
			Verdict again;
			LoadAlone(request_, index_, kCosts | kInstructions, &again);
			verdict_ = std::move(again);
		}
		WaitUntilGone(&verdict_);
		KeepEnds(&verdict_.log);
	}
	void OnOK() override
	{
		Napi::Env env = Env();
		Addon::Of(env).Say(verdict_.said);
		Napi::Object result = Napi::Object::New(env);
		Napi::Array log = Napi::Array::New(env, verdict_.log.size());
		for (size_t i = 0; i < verdict_.log.size(); i++)
			log.Set(static_cast<uint32_t>(i), verdict_.log[i]);
		result.Set("log", log);
		result.Set("remaining", static_cast<double>(verdict_.programs.size() + verdict_.maps.size()));
		if (verdict_.failure)
			result.Set("failure", verdict_.failure->ToError(env).Value());
		Resolve(result);
	}

	LoadRequest request_;
	uint32_t index_;
	Verdict verdict_;
};

Napi::Value DryRun(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	ByteSpan bytes;
	LoadRequest request;
	uint32_t index;
	if (!ReadBytes(env, info[0], "source", 0, &bytes) ||
	    !ReadString(env, info[1], "name", &request.name) || !ReadUint32(env, info[2], "index", &index))
		return env.Undefined();
	request.bytes.assign(bytes.data, bytes.data + bytes.size);
	return PromiseWorker::Start(std::make_unique<DryRunWorker>(env, std::move(request), index));
}

} // namespace

void DefineDryRunFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("dryRun", Napi::Function::New(env, DryRun, "dryRun"));
}

} // namespace node_ebpf
