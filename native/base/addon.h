// SPDX-License-Identifier: Apache-2.0
// What one env (the main thread, or a worker) owns. There are no process globals but libbpf's print hook.
#pragma once
#include "base/napi_setup.h"

#include <memory>
#include <unordered_set>
#include <vector>

namespace node_ebpf
{

class Object;
class Program;
class Map;
class Link;
class Stats;
struct LogLine;
struct MapAccess;
struct ReaderState;
template <typename State> class BoundTable;

// What is to be taken off when its env ends: a link without a descriptor.
class Detachable
{
public:
	virtual void Release() = 0;

protected:
	~Detachable() = default;
};

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
	void Track(Detachable *link) { links_.insert(link); }
	void Forget(Detachable *link) { links_.erase(link); }

	// What is numbered may outlive it, and its table with it: functions are collected when they are.
	const std::shared_ptr<BoundTable<ReaderState>> &readers() const { return readers_; }
	const std::shared_ptr<BoundTable<MapAccess>> &accesses() const { return accesses_; }

	// onLog(): libbpf's words that no error took. JS thread, with no exception pending.
	void Listen(Napi::Function listener);
	void StopListening();
	void Say(const std::vector<LogLine> &lines);

private:
	static void Cleanup(void *self);

	Napi::Env env_;
	Napi::FunctionReference object_;
	Napi::FunctionReference program_;
	Napi::FunctionReference map_;
	Napi::FunctionReference link_;
	Napi::FunctionReference stats_;
	Napi::FunctionReference listener_;
	std::unordered_set<Detachable *> links_;
	std::shared_ptr<BoundTable<ReaderState>> readers_;
	std::shared_ptr<BoundTable<MapAccess>> accesses_;
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
template <> inline Napi::FunctionReference &Addon::Constructor<Stats>()
{
	return stats_;
}

} // namespace node_ebpf
