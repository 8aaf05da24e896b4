// SPDX-License-Identifier: Apache-2.0
#include "base/addon.h"

#include "base/bound.h"
#include "base/log.h"

namespace node_ebpf
{

Addon::Addon(Napi::Env env)
    : env_(env), readers_(std::make_shared<BoundTable<ReaderState>>()),
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
	for (Detachable *link : addon->links_)
		link->Release();
	addon->links_.clear();
}

} // namespace node_ebpf
