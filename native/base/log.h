// SPDX-License-Identifier: Apache-2.0
// libbpf's print hook is one per process; a thread-local sink gives each line to the call that caused it.
#pragma once
#include "base/napi_setup.h"

#include <string>
#include <vector>

namespace node_ebpf
{

struct LogLine {
	const char *level; // warn, info or debug
	std::string text;
	bool carried; // an error takes it along
};

// Collects what libbpf says on this thread while it is alive. Captures nest: the innermost one gets the line,
// and what it still has when it ends goes to the one around it, for onLog() alone.
class LogCapture
{
public:
	// Debug lines are many; an error carries them only where a caller needs them (the verifier's log of a
	// program that loaded is one), and they are kept only for it or for onLog().
	explicit LogCapture(bool with_debug = false);
	~LogCapture();
	LogCapture(const LogCapture &) = delete;
	LogCapture &operator=(const LogCapture &) = delete;

	// The lines that an error carries.
	std::vector<std::string> Take();
	// The same lines where no error takes them: onLog() gets them too.
	std::vector<std::string> Copy() const;
	// What is said a second time is not kept.
	void Forget() { lines_.clear(); }
	// For onLog(): every line, or those that no error took; none where nobody listens.
	std::vector<LogLine> Said() const;
	std::vector<LogLine> Rest();

	// Takes the process's print hook over from libbpf, which would write to stderr.
	static void Install();
	// The envs whose onLog() is set: the pool's threads serve every env.
	static void AddListener(int count);

private:
	friend struct LogSink;
	bool with_debug_;
	LogCapture *outer_;
	std::vector<LogLine> lines_;
};

// JS: onLog(f | undefined)
void DefineLogFunctions(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
