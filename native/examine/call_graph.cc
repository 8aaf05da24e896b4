// SPDX-License-Identifier: Apache-2.0
#include "examine/call_graph.h"

#include <algorithm>

namespace node_ebpf
{

namespace
{

constexpr uint32_t kMostFunctions = 256;
// A hundred thousand programs that each reach the same functions are followed a hundred thousand times: a
// program that is past this is taken for one that calls too many.
constexpr uint64_t kMostSteps = 1 << 24;

} // namespace

CallGraph FollowCalls(const ObjectFile &file, const Decoded &decoded)
{
	size_t count = file.functions.size();
	CallGraph graph;
	graph.programs.resize(count);
	graph.used.resize(count);
	// Each callee once: a function may call another a million times.
	std::vector<std::vector<uint32_t>> callees(count);
	for (size_t i = 0; i < count; i++) {
		for (const Call &call : decoded.functions[i].calls)
			callees[i].push_back(call.function);
		std::sort(callees[i].begin(), callees[i].end());
		callees[i].erase(std::unique(callees[i].begin(), callees[i].end()), callees[i].end());
	}
	std::vector<uint32_t> seen_by(count, ObjectFile::kNone), reached;
	uint64_t steps = 0;
	for (uint32_t program = 0; program < count; program++) {
		if (file.functions[program].subprogram)
			continue;
		LoadedSize &size = graph.programs[program];
		reached.assign(1, program);
		seen_by[program] = program;
		for (size_t next = 0; next < reached.size() && !size.too_many; next++) {
			uint32_t function = reached[next];
			graph.used[function] = true;
			size.instructions += file.functions[function].count;
			for (uint32_t callee : callees[function]) {
				steps++;
				if (seen_by[callee] == program)
					continue;
				seen_by[callee] = program;
				reached.push_back(callee);
				if (reached.size() > kMostFunctions || steps > kMostSteps) {
					size.too_many = true;
					break;
				}
			}
		}
		size.functions = static_cast<uint32_t>(reached.size());
	}
	return graph;
}

} // namespace node_ebpf
