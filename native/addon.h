// SPDX-License-Identifier: Apache-2.0
// What one env (the main thread, or a worker) owns. There are no process globals but libbpf's print hook.
#pragma once
#include "napi_setup.h"

#include <unordered_set>

namespace node_ebpf
{

class Object;
class Program;
class Map;
class Link;

class Addon
{
public:
	explicit Addon(Napi::Env env);
	~Addon();
	Addon(const Addon &) = delete;
	Addon &operator=(const Addon &) = delete;

	static Addon &Of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

	template <typename Class> Napi::FunctionReference &Constructor();

	// Links that outlive their descriptor are taken off when the env ends, in the order the hook finds
	// them.
	void Track(Link *link) { links_.insert(link); }
	void Forget(Link *link) { links_.erase(link); }

private:
	static void Cleanup(void *self);

	Napi::Env env_;
	Napi::FunctionReference object_;
	Napi::FunctionReference program_;
	Napi::FunctionReference map_;
	Napi::FunctionReference link_;
	std::unordered_set<Link *> links_;
};

template <> inline Napi::FunctionReference &Addon::Constructor<Object>()
{
	return object_;
}
template <> inline Napi::FunctionReference &Addon::Constructor<Program>()
{
	return program_;
}
template <> inline Napi::FunctionReference &Addon::Constructor<Map>()
{
	return map_;
}
template <> inline Napi::FunctionReference &Addon::Constructor<Link>()
{
	return link_;
}

} // namespace node_ebpf
