// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include "base/addon.h"

#include <atomic>
#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>

namespace node_ebpf
{

namespace
{

std::atomic<int> listeners{0};

// Of one call, for onLog(): a hostile object can make libbpf say millions.
constexpr size_t kMostHandedOn = 10000;

const char *LevelName(enum libbpf_print_level level)
{
	return level == LIBBPF_WARN ? "warn" : level == LIBBPF_INFO ? "info" : "debug";
}

// onLog(f | undefined): f(level, text) is called in the middle of native work and must not call back into the
// addon.
Napi::Value OnLog(const Napi::CallbackInfo &info)
{
	Addon &addon = Addon::Of(info.Env());
	if (info[0].IsFunction())
		addon.Listen(info[0].As<Napi::Function>());
	else
		addon.StopListening();
	return info.Env().Undefined();
}

} // namespace

struct LogSink {
	static thread_local LogCapture *current;

	static int Print(enum libbpf_print_level level, const char *format, va_list arguments)
	{
		LogCapture *capture = current;
		if (!capture)
			return 0;
		bool carried = level != LIBBPF_DEBUG || capture->with_debug_;
		if (!carried && listeners == 0)
			return 0;
		// libbpf prints whole verifier logs in one call, of any length: measure, then format.
		va_list again;
		va_copy(again, arguments);
		int length = vsnprintf(nullptr, 0, format, arguments);
		if (length > 0) {
			std::string line(static_cast<size_t>(length) + 1, '\0');
			vsnprintf(line.data(), line.size(), format, again);
			line.pop_back();
			if (line.back() == '\n')
				line.pop_back();
			capture->lines_.push_back({LevelName(level), std::move(line), carried});
		}
		va_end(again);
		return length;
	}
};

thread_local LogCapture *LogSink::current = nullptr;

LogCapture::LogCapture(bool with_debug) : with_debug_(with_debug), outer_(LogSink::current)
{
	LogSink::current = this;
}

LogCapture::~LogCapture()
{
	LogSink::current = outer_;
	if (!outer_ || listeners == 0)
		return;
	for (LogLine &line : lines_) {
		if (outer_->lines_.size() == kMostHandedOn)
			return;
		line.carried = false;
		outer_->lines_.push_back(std::move(line));
	}
}

std::vector<std::string> LogCapture::Take()
{
	std::vector<std::string> taken;
	std::vector<LogLine> rest;
	for (LogLine &line : lines_) {
		if (line.carried)
			taken.push_back(std::move(line.text));
		else
			rest.push_back(std::move(line));
	}
	lines_ = std::move(rest);
	return taken;
}

std::vector<std::string> LogCapture::Copy() const
{
	std::vector<std::string> copy;
	for (const LogLine &line : lines_) {
		if (line.carried)
			copy.push_back(line.text);
	}
	return copy;
}

std::vector<LogLine> LogCapture::Said() const
{
	return listeners == 0 ? std::vector<LogLine>() : lines_;
}

std::vector<LogLine> LogCapture::Rest()
{
	return listeners == 0 ? std::vector<LogLine>() : std::move(lines_);
}

void LogCapture::Install()
{
	libbpf_set_print(LogSink::Print);
}

void LogCapture::AddListener(int count)
{
	listeners += count;
}

void DefineLogFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("onLog", Napi::Function::New(env, OnLog, "onLog"));
}

} // namespace node_ebpf
