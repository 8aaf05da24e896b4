// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/arguments.h"
#include "base/errors.h"
#include "handles/map_members.h"
#include "base/unique_fd.h"

#include <memory>
#include <string>

struct bpf_map;
struct bpf_object;

namespace node_ebpf
{

struct MapInit {
	UniqueFd fd;
	std::string name; // libbpf's; the kernel's own is cut at 15 characters
	std::vector<Member> members;
	// libbpf's view of a struct_ops map, for attach(); the object lives as long.
	std::shared_ptr<struct bpf_object> object;
	struct bpf_map *struct_ops = nullptr;
};

// What does not change while a map lives.
struct MapShape {
	uint32_t type = 0;
	uint32_t id = 0;
	uint32_t key_size = 0;
	uint32_t value_size = 0;
	uint32_t max_entries = 0;
	uint32_t flags = 0;
	uint32_t cpus = 1;    // values in a slot: the possible CPUs for a per-CPU map
	size_t stride = 0;    // from one CPU's value to the next
	size_t slot_size = 0; // what one lookup writes
};

// A map's handle shares it with the functions and readers that were made from it: closing the handle closes
// them too.
struct MapState {
	UniqueFd fd;
	MapShape shape;
	std::string name;
	std::vector<Member> members; // of the value; empty until somebody asks, where libbpf did not load it
	std::shared_ptr<struct bpf_object> object;
	struct bpf_map *struct_ops = nullptr;
};

class Map : public Napi::ObjectWrap<Map>
{
public:
	static Napi::Function Define(Napi::Env env);
	// Reads the map's shape from the kernel; a Failure is thrown as a JS error and the result is empty.
	static Napi::Value New(Napi::Env env, UniqueFd fd, std::string name);
	static Napi::Value New(Napi::Env env, MapInit init);

	// The map that `value` wraps, open; null with an error pending otherwise.
	static Map *FromValue(Napi::Env env, Napi::Value value);

	explicit Map(const Napi::CallbackInfo &info);
	int fd() const { return state_->fd.get(); }
	const std::shared_ptr<MapState> &state() const { return state_; }

private:
	Napi::Value Describe(const Napi::CallbackInfo &info);
	Napi::Value Info(const Napi::CallbackInfo &info);
	Napi::Value Pin(const Napi::CallbackInfo &info);
	Napi::Value Freeze(const Napi::CallbackInfo &info);
	Napi::Value CountKeys(const Napi::CallbackInfo &info);
	Napi::Value Members(const Napi::CallbackInfo &info); // map_members.cc
	Napi::Value Memory(const Napi::CallbackInfo &info);  // map_memory.cc
	// map_access.cc
	Napi::Value Bind(const Napi::CallbackInfo &info);
	Napi::Value UpdateBatch(const Napi::CallbackInfo &info);
	Napi::Value DeleteBatch(const Napi::CallbackInfo &info);
	Napi::Value HasBatch(const Napi::CallbackInfo &info);
	Napi::Value Scan(const Napi::CallbackInfo &info);   // map_scan.cc
	Napi::Value Reader(const Napi::CallbackInfo &info); // map_reader.cc
	Napi::Value Attach(const Napi::CallbackInfo &info); // struct_ops.cc
	Napi::Value Close(const Napi::CallbackInfo &info);

	bool open() const { return state_->fd.valid(); }

	std::shared_ptr<MapState> state_ = std::make_shared<MapState>();
};

// JS: possibleCpus(), maps(): every map on this machine, mapById(id) (both need CAP_SYS_ADMIN)
void DefineMapFunctions(Napi::Env env, Napi::Object exports);
void DefineAccessFunctions(Napi::Env env, Napi::Object exports); // map_access.cc
// Of memory(): map_memory.cc.
Napi::Value DetachBuffer(const Napi::CallbackInfo &info);
// JS: createMap(spec, inner), mapTypes(), detachBuffer(buffer)
void DefineMapCreation(Napi::Env env, Napi::Object exports);

} // namespace node_ebpf
