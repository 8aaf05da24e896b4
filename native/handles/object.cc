// SPDX-License-Identifier: Apache-2.0
#include "handles/object.h"

#include "base/handle.h"
#include "handles/load.h"
#include "handles/map.h"
#include "handles/program.h"
#include "base/promise_worker.h"

#include <bpf/libbpf.h>
#include <cerrno>

namespace node_ebpf
{

namespace
{

// A load can take a second of the verifier's time: it runs on the pool, and the promise settles on the JS
// thread. An env that ends first drops the worker, and the object in it closes.
class LoadWorker : public PromiseWorker
{
public:
	LoadWorker(Napi::Env env, LoadRequest request)
	    : PromiseWorker(env, "node-ebpf:load"), request_(std::move(request))
	{
	}

private:
	void Execute() override { failure_ = Load(request_, &result_); }
	void OnOK() override
	{
		Napi::Env env = Env();
		Addon::Of(env).Say(result_.said);
		if (failure_) {
			Reject(*failure_);
			return;
		}
		Napi::Value object = Object::New(env, std::move(result_));
		Resolve(object);
	}

	LoadRequest request_;
	ObjectInit result_;
	std::optional<Failure> failure_;
};

Napi::Value LoadObject(const Napi::CallbackInfo &info)
{
	LoadRequest request;
	if (!ReadLoadRequest(info, &request))
		return info.Env().Undefined();
	return PromiseWorker::Start(std::make_unique<LoadWorker>(info.Env(), std::move(request)));
}

Napi::Value LoadObjectSync(const Napi::CallbackInfo &info)
{
	LoadRequest request;
	if (!ReadLoadRequest(info, &request))
		return info.Env().Undefined();
	ObjectInit init;
	auto failure = Load(request, &init);
	Addon::Of(info.Env()).Say(init.said);
	if (failure)
		return failure->Throw(info.Env());
	return Object::New(info.Env(), std::move(init));
}

} // namespace

ObjectPointer OpenObject(const std::vector<uint8_t> &bytes, const struct bpf_object_open_opts *opts,
                         int *error)
{
	struct bpf_object *object = bpf_object__open_mem(bytes.data(), bytes.size(), opts);
	// libbpf 1.5 takes a BTF size of 4 GiB less a page for an errno and hands out -4096 as the object: no
	// address in user space is negative.
	if (reinterpret_cast<intptr_t>(object) > 0)
		return ObjectPointer(object);
	*error = object || errno == 0 ? -EINVAL : -errno;
	return nullptr;
}

void ObjectCloser::operator()(struct bpf_object *object) const
{
	bpf_object__close(object);
}

Napi::Function Object::Define(Napi::Env env)
{
	return DefineClass(env, "NativeObject",
	                   {
	                           InstanceMethod<&Object::Programs>("programs"),
	                           InstanceMethod<&Object::Maps>("maps"),
	                           InstanceMethod<&Object::Log>("log"),
	                           InstanceMethod<&Object::Close>("close"),
	                   });
}

Napi::Value Object::New(Napi::Env env, ObjectInit init)
{
	return Construct<Object>(env, std::move(init));
}

Object::Object(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Object>(info)
{
	ObjectInit init;
	if (!TakeInit(*this, info, &init))
		return;
	object_ = std::move(init.object);
	map_names_ = std::move(init.map_names);
	log_ = std::move(init.log);
}

// programs(): a handle for each, with a descriptor of its own, so that handles close in any order. All
// descriptors come first: none is left in a handle that nobody gets when there are not enough.
Napi::Value Object::Programs(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!object_)
		return ThrowClosed(env, "object");
	std::vector<ProgramInit> inits;
	struct bpf_program *program;
	bpf_object__for_each_program(program, object_.get())
	{
		if (bpf_program__fd(program) <
		    0) // not loaded, by its own SEC("?…") or because it was not wanted
			continue;
		UniqueFd fd = UniqueFd::Duplicate(bpf_program__fd(program));
		if (!fd.valid())
			return Failure::FromErrno(errno, "dup").Throw(env);
		inits.push_back({std::move(fd), bpf_program__name(program),
		                 bpf_program__section_name(program), object_, program,
		                 bpf_program__insn_cnt(program)});
	}
	Napi::Array result = Napi::Array::New(env);
	for (size_t i = 0; i < inits.size(); i++) {
		Napi::Value handle = Program::New(env, std::move(inits[i]));
		if (env.IsExceptionPending())
			return env.Undefined();
		result.Set(static_cast<uint32_t>(i), handle);
	}
	return result;
}

Napi::Value Object::Maps(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!object_)
		return ThrowClosed(env, "object");
	std::vector<MapInit> inits;
	size_t index = 0;
	struct bpf_map *map;
	bpf_object__for_each_map(map, object_.get())
	{
		const std::string &name = map_names_[index++];
		if (bpf_map__fd(map) < 0)
			continue;
		UniqueFd fd = UniqueFd::Duplicate(bpf_map__fd(map));
		if (!fd.valid())
			return Failure::FromErrno(errno, "dup").Throw(env);
		std::vector<Member> members;
		if (const struct btf *btf = bpf_object__btf(object_.get()))
			members = MembersOf(btf, bpf_map__btf_value_type_id(map));
		inits.push_back({std::move(fd), name, std::move(members), nullptr, nullptr});
		if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS) {
			inits.back().object = object_;
			inits.back().struct_ops = map;
		}
	}
	Napi::Array result = Napi::Array::New(env);
	for (size_t i = 0; i < inits.size(); i++) {
		Napi::Value handle = Map::New(env, std::move(inits[i]));
		if (env.IsExceptionPending())
			return env.Undefined();
		result.Set(static_cast<uint32_t>(i), handle);
	}
	return result;
}

// log(): what libbpf said while it loaded.
Napi::Value Object::Log(const Napi::CallbackInfo &info)
{
	Napi::Array result = Napi::Array::New(info.Env(), log_.size());
	for (size_t i = 0; i < log_.size(); i++)
		result.Set(static_cast<uint32_t>(i), log_[i]);
	return result;
}

Napi::Value Object::Close(const Napi::CallbackInfo &info)
{
	object_.reset();
	return info.Env().Undefined();
}

void DefineObjectFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("loadObject", Napi::Function::New(env, LoadObject, "loadObject"));
	exports.Set("loadObjectSync", Napi::Function::New(env, LoadObjectSync, "loadObjectSync"));
}

} // namespace node_ebpf
