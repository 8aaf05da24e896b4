// SPDX-License-Identifier: Apache-2.0
// What the addon exports.
#include "base/addon.h"
#include "attach/clsact.h"
#include "examine/dry_run.h"
#include "examine/inspect.h"
#include "kernel/interface.h"
#include "kernel/enums.h"
#include "handles/link.h"
#include "base/log.h"
#include "handles/map.h"
#include "map/reader.h"
#include "handles/object.h"
#include "handles/pin.h"
#include "kernel/privileges.h"
#include "kernel/features.h"
#include "handles/program.h"
#include "kernel/stats.h"
#include "kernel/tc.h"
#include "attach/kinds.h"
#include "attach/tcx.h"
#include "kernel/user_symbols.h"
#include "attach/xdp.h"

#include <bpf/libbpf.h>

static Napi::Object Init(Napi::Env env, Napi::Object exports)
{
	using namespace node_ebpf;
	LogCapture::Install();
	ProgramMethods methods;
#define DEFINE_KIND(kind) Define##kind##Attach(methods);
	NODE_EBPF_ATTACH_KINDS(DEFINE_KIND)
#undef DEFINE_KIND
	auto *addon = new Addon(env);
	addon->Constructor<Object>() = Napi::Persistent(Object::Define(env));
	addon->Constructor<Program>() = Napi::Persistent(Program::Define(env, methods));
	addon->Constructor<Map>() = Napi::Persistent(Map::Define(env));
	addon->Constructor<Link>() = Napi::Persistent(Link::Define(env));
	addon->Constructor<Stats>() = Napi::Persistent(Stats::Define(env));
	env.SetInstanceData(addon);
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
