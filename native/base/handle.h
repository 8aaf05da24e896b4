// SPDX-License-Identifier: Apache-2.0
// What the wrapped kernel objects share: one descriptor, closed once, and construction from native code
// alone.
#pragma once
#include "base/addon.h"
#include "base/errors.h"
#include "base/unique_fd.h"

#include <utility>

namespace node_ebpf
{

// The object that an ending env did not wrap, on its thread: nobody else would ever delete it.
template <typename Class> Class *&Unwrapped()
{
	static thread_local Class *object = nullptr;
	return object;
}

// The constructor of a wrapped class takes one External that only this addon makes; JS has no way to forge
// it.
template <typename Class, typename Init> Napi::Object Construct(Napi::Env env, Init &&init)
{
	Init local = std::move(init);
	Napi::FunctionReference &constructor = Addon::Of(env).Constructor<Class>();
	Napi::Object made = constructor.New({Napi::External<Init>::New(env, &local)});
	delete std::exchange(Unwrapped<Class>(), nullptr);
	return made;
}

// Moves the Init out; false with a TypeError pending when JS called `new`. An env that is ending does not
// wrap: the object, and what it would own, stay with Construct(), which gives both up. With an exception
// pending node-addon-api deletes the object itself.
template <typename Class, typename Init> bool TakeInit(Class &self, const Napi::CallbackInfo &info, Init *out)
{
	if (self.IsEmpty()) {
		if (!info.Env().IsExceptionPending())
			Unwrapped<Class>() = &self;
		return false;
	}
	if (info.Length() != 1 || !info[0].IsExternal()) {
		Napi::TypeError::New(info.Env(), "Illegal constructor").ThrowAsJavaScriptException();
		return false;
	}
	*out = std::move(*info[0].As<Napi::External<Init>>().Data());
	return true;
}

} // namespace node_ebpf
