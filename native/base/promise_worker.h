// SPDX-License-Identifier: Apache-2.0
// Work for the pool that ends in a promise.
#pragma once
#include "base/errors.h"
#include "base/napi_setup.h"

#include <memory>

namespace node_ebpf
{

// Execute() runs on the pool, OnOK() on the JS thread afterwards, and settles. An env that ends first drops
// the worker with all that it holds.
//
// Napi::Promise::Deferred is not used: an env that is being terminated makes no promise, and Deferred then
// hands out a value that was never set, which Node reads.
class PromiseWorker : public Napi::AsyncWorker
{
public:
	// Queues the work. Undefined in an env that is being terminated: there the worker is deleted, and
	// nobody waits for it.
	static Napi::Value Start(std::unique_ptr<PromiseWorker> worker)
	{
		Napi::Value promise(worker->Env(), worker->promise_);
		if (worker->deferred_)
			worker.release()->Queue(); // deletes itself when done
		return promise;
	}

protected:
	PromiseWorker(Napi::Env env, const char *name) : Napi::AsyncWorker(env, name)
	{
		if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) {
			deferred_ = nullptr;
			promise_ = nullptr;
		}
	}

	// With an exception pending, the making of `value` failed, and that is what the promise ends with.
	void Resolve(napi_value value)
	{
		Napi::Env env = Env();
		if (env.IsExceptionPending())
			napi_reject_deferred(env, deferred_, env.GetAndClearPendingException().Value());
		else
			napi_resolve_deferred(env, deferred_, value);
	}

	void Reject(const Failure &failure)
	{
		napi_reject_deferred(Env(), deferred_, failure.ToError(Env()).Value());
	}

private:
	napi_deferred deferred_ = nullptr;
	napi_value promise_ = nullptr; // good in the call that made it
};

} // namespace node_ebpf
