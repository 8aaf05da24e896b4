// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>

namespace node_ebpf
{

struct LogSink {
	static thread_local LogCapture *current;

	static int Print(enum libbpf_print_level level, const char *format, va_list arguments)
	{
		LogCapture *capture = current;
		if (!capture || (level == LIBBPF_DEBUG && !capture->with_debug_))
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
			capture->lines_.push_back(std::move(line));
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
}

void LogCapture::Install()
{
	libbpf_set_print(LogSink::Print);
}

} // namespace node_ebpf
