// SPDX-License-Identifier: Apache-2.0
// libbpf's print hook is one per process; a thread-local sink gives each line to the call that caused it.
#pragma once
#include <string>
#include <vector>

namespace node_ebpf
{

// Collects what libbpf says on this thread while it is alive. Captures nest: the innermost one gets the line.
class LogCapture
{
public:
	// Debug lines are many; they are kept only where a caller needs them (the verifier's log of a program
	// that loaded is one).
	explicit LogCapture(bool with_debug = false);
	~LogCapture();
	LogCapture(const LogCapture &) = delete;
	LogCapture &operator=(const LogCapture &) = delete;

	std::vector<std::string> Take() { return std::move(lines_); }

	// Takes the process's print hook over from libbpf, which would write to stderr.
	static void Install();

private:
	friend struct LogSink;
	bool with_debug_;
	LogCapture *outer_;
	std::vector<std::string> lines_;
};

} // namespace node_ebpf
