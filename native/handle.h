// SPDX-License-Identifier: Apache-2.0
// What the wrapped kernel objects share: one descriptor, closed once, and construction from native code
// alone.
#pragma once
#include "addon.h"
#include "errors.h"
#include "unique_fd.h"

namespace node_ebpf
{

// The constructor of a wrapped class takes one External that only this addon makes; JS has no way to forge
// it.
template <typename Class, typename Init> Napi::Object Construct(Napi::Env env, Init &&init)
{
	Init local = std::move(init);
	Napi::FunctionReference &constructor = Addon::Of(env).Constructor<Class>();
	return constructor.New({Napi::External<Init>::New(env, &local)});
}

// Moves the Init out; false with a TypeError pending when JS called `new`. An env that is ending does not
// wrap, and nobody would ever delete the object: what it would own stays with Construct(), which gives it up.
template <typename Class, typename Init>
bool TakeInit(const Class &self, const Napi::CallbackInfo &info, Init *out)
{
	if (self.IsEmpty())
		return false;
	if (info.Length() != 1 || !info[0].IsExternal()) {
		Napi::TypeError::New(info.Env(), "Illegal constructor").ThrowAsJavaScriptException();
		return false;
	}
	*out = std::move(*info[0].As<Napi::External<Init>>().Data());
	return true;
}

} // namespace node_ebpf
