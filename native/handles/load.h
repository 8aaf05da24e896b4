// SPDX-License-Identifier: Apache-2.0
// What is asked of a load, copied from JS so that it can be done on any thread.
#pragma once
#include "handles/object.h"
#include "base/unique_fd.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace node_ebpf
{

struct MapRequest {
	std::string name;
	uint32_t max_entries = 0; // 0: as the object says
	uint32_t value_size = 0;  // so too
	UniqueFd reuse;           // the map to take instead of making one
};

struct ProgramRequest {
	std::string name;
	std::optional<bool> load; // absent: as its SEC() says
	uint32_t ifindex = 0;
	std::string attach_target;
};

// The bytes of a variable: lib/ has found its place.
struct GlobalRequest {
	std::string section;
	uint32_t offset = 0;
	std::vector<uint8_t> bytes;
};

struct LoadRequest {
	std::vector<uint8_t> bytes; // a copy: the caller's may change while the pool works
	std::string name;
	bool verifier_log = false; // keep the verifier's log of programs that load, too
	std::optional<std::string> btf;
	std::optional<std::string> kconfig;
	std::optional<std::string> pin_root;
	std::optional<std::string> token;
	std::vector<MapRequest> maps;
	std::vector<ProgramRequest> programs;
	std::vector<GlobalRequest> globals;
};

// (bytes, name, options); false with a JS error pending.
bool ReadLoadRequest(const Napi::CallbackInfo &info, LoadRequest *out);
// Opens, adjusts and loads: system calls alone, on whichever thread calls it.
std::optional<Failure> Load(const LoadRequest &request, ObjectInit *out);

} // namespace node_ebpf
