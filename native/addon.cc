// SPDX-License-Identifier: Apache-2.0
#include "addon.h"

#include "bound.h"
#include "clsact.h"
#include "dry_run.h"
#include "inspect.h"
#include "interface.h"
#include "kernel_enum.h"
#include "link.h"
#include "log.h"
#include "map.h"
#include "map_reader.h"
#include "object.h"
#include "pin.h"
#include "privileges.h"
#include "probe.h"
#include "program.h"
#include "stats.h"
#include "tc.h"
#include "tcx.h"
#include "user_symbols.h"
#include "xdp.h"

#include <bpf/libbpf.h>

namespace node_ebpf
{

Addon::Addon(Napi::Env env)
    : env_(env), object_(Napi::Persistent(Object::Define(env))),
      program_(Napi::Persistent(Program::Define(env))), map_(Napi::Persistent(Map::Define(env))),
      link_(Napi::Persistent(Link::Define(env))), stats_(Napi::Persistent(Stats::Define(env))),
      readers_(std::make_shared<BoundTable<ReaderState>>()),
      accesses_(std::make_shared<BoundTable<MapAccess>>())
{
	napi_add_env_cleanup_hook(env_, Cleanup, this);
}

Addon::~Addon()
{
	StopListening();
	napi_remove_env_cleanup_hook(env_, Cleanup, this);
}

void Addon::Listen(Napi::Function listener)
{
	StopListening();
	listener_ = Napi::Persistent(listener);
	LogCapture::AddListener(1);
}

void Addon::StopListening()
{
	if (listener_.IsEmpty())
		return;
	listener_.Reset();
	LogCapture::AddListener(-1);
}

void Addon::Say(const std::vector<LogLine> &lines)
{
	if (listener_.IsEmpty())
		return;
	for (const LogLine &line : lines) {
		Napi::HandleScope scope(env_);
		listener_.Call({Napi::String::New(env_, line.level), Napi::String::New(env_, line.text)});
		// An env that is ending refuses every call.
		if (env_.IsExceptionPending()) {
			env_.GetAndClearPendingException();
			return;
		}
	}
}

void Addon::Cleanup(void *self)
{
	auto *addon = static_cast<Addon *>(self);
	for (Link *link : addon->links_)
		link->Release();
	addon->links_.clear();
}

} // namespace node_ebpf

static Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	using namespace node_ebpf;
	LogCapture::Install();
	env.SetInstanceData(new Addon(env));
	DefineObjectFunctions(env, exports);
	DefineProgramFunctions(env, exports);
	DefineMapFunctions(env, exports);
	DefineReaderFunctions(env, exports);
	DefineLinkFunctions(env, exports);
	DefinePinFunctions(env, exports);
	DefineInterfaceFunctions(env, exports);
	DefineXdpFunctions(env, exports);
	DefineTcFunctions(env, exports);
	DefineTcxFunctions(env, exports);
	DefineClsactFunctions(env, exports);
	DefineInspectFunctions(env, exports);
	DefineLogFunctions(env, exports);
	DefineProbeFunctions(env, exports);
	DefinePrivilegesFunctions(env, exports);
	DefineStatsFunctions(env, exports);
	DefineDryRunFunctions(env, exports);
	DefineKernelEnumFunctions(env, exports);
	DefineUserSymbolFunctions(env, exports);
	exports.Set("libbpfVersion", libbpf_version_string());
	return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
