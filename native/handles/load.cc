// SPDX-License-Identifier: Apache-2.0
#include "handles/load.h"

#include "base/arguments.h"
#include "base/log.h"
#include "handles/map.h"
#include "base/options.h"

#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>

namespace node_ebpf
{

namespace
{

// An env that is ending gives an empty value, which must not pass for an absent one: a load without its
// `pinRoot` pins elsewhere.
bool Get(Napi::Object object, const char *name, Napi::Value *out)
{
	*out = object.Get(name);
	return !out->IsEmpty();
}

bool ReadOptionalString(Napi::Env env, Napi::Object object, const char *name, std::optional<std::string> *out)
{
	Napi::Value value;
	if (!Get(object, name, &value))
		return false;
	return IsAbsent(env, value) || ReadString(env, value, name, &out->emplace());
}

bool ReadOptionalUint32(Napi::Env env, Napi::Object object, const char *name, uint32_t *out)
{
	Napi::Value value;
	if (!Get(object, name, &value))
		return false;
	return IsAbsent(env, value) || ReadUint32(env, value, name, out);
}

bool Read(Napi::Env env, Napi::Object object, MapRequest *out)
{
	if (!ReadString(env, object.Get("name"), "name", &out->name) ||
	    !ReadOptionalUint32(env, object, "maxEntries", &out->max_entries) ||
	    !ReadOptionalUint32(env, object, "valueSize", &out->value_size))
		return false;
	Napi::Value reuse;
	if (!Get(object, "reuse", &reuse))
		return false;
	if (IsAbsent(env, reuse))
		return true;
	Map *map = Map::FromValue(env, reuse);
	if (!map)
		return false;
	out->reuse = UniqueFd::Duplicate(map->fd());
	if (!out->reuse.valid())
		Failure::FromErrno(errno, "dup").Throw(env);
	return out->reuse.valid();
}

bool Read(Napi::Env env, Napi::Object object, ProgramRequest *out)
{
	std::optional<std::string> target;
	if (!ReadString(env, object.Get("name"), "name", &out->name) ||
	    !ReadOptionalUint32(env, object, "ifindex", &out->ifindex) ||
	    !ReadOptionalString(env, object, "attachTarget", &target))
		return false;
	Napi::Value load;
	if (!Get(object, "load", &load))
		return false;
	if (!IsAbsent(env, load))
		out->load = ReadFlag(env, load);
	out->attach_target = target.value_or("");
	return true;
}

bool Read(Napi::Env env, Napi::Object object, GlobalRequest *out)
{
	ByteSpan bytes;
	if (!ReadString(env, object.Get("section"), "section", &out->section) ||
	    !ReadUint32(env, object.Get("offset"), "offset", &out->offset) ||
	    !ReadBytes(env, object.Get("bytes"), "bytes", 0, &bytes))
		return false;
	out->bytes.assign(bytes.data, bytes.data + bytes.size);
	return true;
}

template <typename Request>
bool ReadAll(Napi::Env env, Napi::Object object, const char *name, std::vector<Request> *out)
{
	Napi::Value value;
	if (!Get(object, name, &value))
		return false;
	if (!value.IsArray())
		return true;
	Napi::Array array = value.As<Napi::Array>();
	for (uint32_t i = 0; i < array.Length(); i++) {
		Napi::Value entry = array.Get(i);
		if (!entry.IsObject() || !Read(env, entry.As<Napi::Object>(), &out->emplace_back()))
			return false;
	}
	return true;
}

const char *OrNull(const std::optional<std::string> &text)
{
	return text ? text->c_str() : nullptr;
}

int Set(struct bpf_object *object, const GlobalRequest &request)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, request.section.c_str());
	size_t size = 0;
	void *values = map ? bpf_map__initial_value(map, &size) : nullptr;
	if (!values || request.offset > size || request.bytes.size() > size - request.offset)
		return -EINVAL;
	memcpy(static_cast<uint8_t *>(values) + request.offset, request.bytes.data(), request.bytes.size());
	return 0;
}

int Adjust(struct bpf_object *object, const ProgramRequest &request, const char **step)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, request.name.c_str());
	*step = "bpf_object__find_program_by_name";
	if (!program)
		return -ENOENT;
	*step = "bpf_program__set_autoload";
	int error = request.load ? bpf_program__set_autoload(program, *request.load) : 0;
	if (!error && !request.attach_target.empty()) {
		*step = "bpf_program__set_attach_target";
		error = bpf_program__set_attach_target(program, 0, request.attach_target.c_str());
	}
	if (error || !request.ifindex)
		return error;
	bpf_program__set_ifindex(program, request.ifindex);
	// An offloaded program's maps are on its device too, as bpftool prog load dev has it.
	*step = "bpf_map__set_ifindex";
	struct bpf_map *map;
	bpf_object__for_each_map(map, object)
	{
		if (!error && bpf_map__type(map) != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
			error = bpf_map__set_ifindex(map, request.ifindex);
	}
	return error;
}

// Maps are found before any is replaced: the replaced one takes the other's name.
int Adjust(struct bpf_object *object, const std::vector<MapRequest> &requests, const char **step)
{
	std::vector<struct bpf_map *> found;
	*step = "bpf_object__find_map_by_name";
	for (const MapRequest &request : requests) {
		found.push_back(bpf_object__find_map_by_name(object, request.name.c_str()));
		if (!found.back())
			return -ENOENT;
	}
	int error = 0;
	for (size_t i = 0; i < requests.size() && !error; i++) {
		*step = "bpf_map__set_max_entries";
		if (requests[i].max_entries)
			error = bpf_map__set_max_entries(found[i], requests[i].max_entries);
		if (!error && requests[i].value_size) {
			*step = "bpf_map__set_value_size";
			error = bpf_map__set_value_size(found[i], requests[i].value_size);
		}
		if (!error && requests[i].reuse.valid()) {
			*step = "bpf_map__reuse_fd";
			error = bpf_map__reuse_fd(found[i], requests[i].reuse.get());
		}
	}
	return error;
}

int Adjust(struct bpf_object *object, const LoadRequest &request, const char **step)
{
	for (const GlobalRequest &global : request.globals) {
		*step = "bpf_map__initial_value";
		if (int error = Set(object, global))
			return error;
	}
	for (const ProgramRequest &program : request.programs) {
		if (int error = Adjust(object, program, step))
			return error;
	}
	return Adjust(object, request.maps, step);
}

} // namespace

bool ReadLoadRequest(const Napi::CallbackInfo &info, LoadRequest *out)
{
	Napi::Env env = info.Env();
	ByteSpan bytes;
	if (!ReadBytes(env, info[0], "source", 0, &bytes) || !ReadString(env, info[1], "name", &out->name))
		return false;
	out->bytes.assign(bytes.data, bytes.data + bytes.size);
	if (!info[2].IsObject())
		return true;
	Napi::Object options = info[2].As<Napi::Object>();
	out->verifier_log = ReadFlag(env, options.Get("verifierLog"));
	return ReadOptionalString(env, options, "btf", &out->btf) &&
	       ReadOptionalString(env, options, "kconfig", &out->kconfig) &&
	       ReadOptionalString(env, options, "pinRoot", &out->pin_root) &&
	       ReadOptionalString(env, options, "token", &out->token) &&
	       ReadAll(env, options, "maps", &out->maps) &&
	       ReadAll(env, options, "programs", &out->programs) &&
	       ReadAll(env, options, "globals", &out->globals);
}

std::optional<Failure> Load(const LoadRequest &request, ObjectInit *out)
{
	LogCapture capture(request.verifier_log);
	auto fail = [&](int error, const char *operation) {
		Failure failure = Failure::FromErrno(error, operation, capture.Take());
		out->said = capture.Rest();
		return failure;
	};
	Zeroed<struct bpf_object_open_opts> opts;
	opts.object_name = request.name.c_str();
	opts.kernel_log_level = request.verifier_log ? 1 : 0;
	opts.btf_custom_path = OrNull(request.btf);
	opts.kconfig = OrNull(request.kconfig);
	opts.pin_root_path = OrNull(request.pin_root);
	opts.bpf_token_path = OrNull(request.token);
	int error = 0;
	ObjectPointer object = OpenObject(request.bytes, &opts, &error);
	if (!object)
		return fail(error, "bpf_object__open_mem");
	// bpf_map__reuse_fd() renames a map to what the kernel calls it.
	struct bpf_map *map;
	bpf_object__for_each_map(map, object.get()) out->map_names.push_back(bpf_map__name(map));
	const char *step = "bpf_object__load";
	error = Adjust(object.get(), request, &step);
	if (!error) {
		step = "bpf_object__load";
		error = bpf_object__load(object.get());
	}
	if (error)
		return fail(error, step);
	out->object = std::move(object);
	out->said = capture.Said();
	out->log = capture.Take();
	return std::nullopt;
}

} // namespace node_ebpf
