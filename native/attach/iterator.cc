// SPDX-License-Identifier: Apache-2.0
// What a program of SEC("iter/…") writes about each of the kernel's objects, read like a file.
#include "attach/kinds.h"

#include "base/addon.h"
#include "base/arguments.h"
#include "base/bound.h"
#include "handles/link.h"
#include "handles/map.h"
#include "base/options.h"
#include "handles/program.h"
#include "base/promise_worker.h"

#include <atomic>
#include <bpf/bpf.h>
#include <cerrno>
#include <vector>

namespace node_ebpf
{

namespace
{

// Twice what the kernel gathers before it hands out (kernel/bpf/bpf_iter.c, bpf_seq_read: 8 pages).
constexpr size_t kChunk = 64 * 1024;

struct IteratorState {
	UniqueFd fd;
	bool busy = false;
	std::atomic<bool> closed{false};
};

// The kernel walks its objects inside read(2), as many as it takes: on the pool.
class ReadWorker : public PromiseWorker
{
public:
	ReadWorker(Napi::Env env, std::shared_ptr<IteratorState> state)
	    : PromiseWorker(env, "node-ebpf:iterate"), state_(std::move(state))
	{
		state_->busy = true;
	}
	~ReadWorker() override { state_->busy = false; }

private:
	void Execute() override
	{
		bytes_.resize(kChunk);
		ssize_t got;
		// EAGAIN: a million objects and not a byte about any of them. The next read goes on from
		// there.
		do
			got = read(state_->fd.get(), bytes_.data(), bytes_.size());
		while (got < 0 && (errno == EAGAIN || errno == EINTR) && !state_->closed);
		if (got < 0)
			error_ = errno;
		bytes_.resize(got > 0 ? static_cast<size_t>(got) : 0);
	}
	void OnOK() override
	{
		Napi::Env env = Env();
		state_->busy = false;
		if (state_->closed)
			state_->fd.Reset();
		if (error_) {
			Reject(Failure::FromErrno(error_, "read"));
			return;
		}
		if (bytes_.empty()) {
			Resolve(env.Undefined());
			return;
		}
		// An env that is ending makes no buffer, and nobody waits for one.
		void *data;
		napi_value buffer, chunk;
		if (napi_create_arraybuffer(env, bytes_.size(), &data, &buffer) != napi_ok ||
		    napi_create_typedarray(env, napi_uint8_array, bytes_.size(), buffer, 0, &chunk) !=
		            napi_ok) {
			if (env.IsExceptionPending())
				Resolve(nullptr);
			else
				Reject(Failure::FromErrno(ENOMEM, "read"));
			return;
		}
		std::copy(bytes_.begin(), bytes_.end(), static_cast<uint8_t *>(data));
		Resolve(chunk);
	}

	std::shared_ptr<IteratorState> state_;
	std::vector<uint8_t> bytes_;
	int error_ = 0;
};

// read(): a promise of the next bytes, of undefined at the end.
napi_value ReadIterator(napi_env env, napi_callback_info info)
{
	void *data;
	napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
	std::shared_ptr<IteratorState> state = *static_cast<std::shared_ptr<IteratorState> *>(data);
	if (state->closed || state->busy)
		return ThrowClosed(env, "iterator");
	return PromiseWorker::Start(std::make_unique<ReadWorker>(env, state));
}

napi_value CloseIterator(napi_env env, napi_callback_info info)
{
	IteratorState &state = BoundState<IteratorState>(env, info);
	state.closed = true;
	if (!state.busy) // else when the pool is done
		state.fd.Reset();
	return nullptr;
}

} // namespace

// attachIterator(map | undefined): the link; with a map, over the elements of that one.
static Napi::Value AttachIterator(const Napi::CallbackInfo &info, Program &program)
{
	Napi::Env env = info.Env();
	Zeroed<struct bpf_link_create_opts> opts;
	union bpf_iter_link_info target = {};
	if (!IsAbsent(env, info[0])) {
		Map *map = Map::FromValue(env, info[0]);
		if (!map)
			return env.Undefined();
		target.map.map_fd = static_cast<uint32_t>(map->fd());
		opts.iter_info = &target;
		opts.iter_info_len = sizeof target;
	}
	UniqueFd link(bpf_link_create(program.fd(), 0, BPF_TRACE_ITER, &opts));
	if (!link.valid())
		return Failure::FromErrno(errno, "bpf_link_create").Throw(env);
	return Link::New(env, std::move(link));
}

// openIterator(): { read, close } of one pass over the objects.
Napi::Value Link::OpenIterator(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "link");
	auto state = std::make_shared<IteratorState>();
	state->fd = UniqueFd(bpf_iter_create(fd()));
	if (!state->fd.valid())
		return Failure::FromErrno(errno, "bpf_iter_create").Throw(env);
	Napi::Object result = Napi::Object::New(env);
	AddFunction(result, "read", ReadIterator, state);
	AddFunction(result, "close", CloseIterator, state);
	return result;
}

void DefineIteratorAttach(ProgramMethods &methods)
{
	AddMethod<AttachIterator>(methods, "attachIterator");
}

} // namespace node_ebpf
