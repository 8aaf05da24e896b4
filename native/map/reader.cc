// SPDX-License-Identifier: Apache-2.0
#include "map/reader.h"

#include "base/addon.h"
#include "map/sampler.h"
#include "base/options.h"
#include "handles/program.h"
#include "base/promise_worker.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace node_ebpf
{

size_t MemorySize(const MapShape &shape)
{
	size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	if (shape.type == BPF_MAP_TYPE_ARENA)
		return page * shape.max_entries;
	size_t bytes = (static_cast<size_t>(shape.value_size) + 7) / 8 * 8 * shape.max_entries;
	return (bytes + page - 1) / page * page;
}

int MappedMemory::Map(int fd, const MapShape &shape, bool writable)
{
	size_t size = MemorySize(shape);
	void *data = mmap(nullptr, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	Unmap();
	data_ = data;
	size_ = size;
	return 0;
}

void MappedMemory::Unmap()
{
	if (data_)
		munmap(data_, size_);
	data_ = nullptr;
	size_ = 0;
}

int CounterSource::Prepare()
{
	layout = chosen;
	if (path == ReadPath::kMmap) {
		layout.stride = layout.slot_size = (static_cast<size_t>(shape.value_size) + 7) / 8 * 8;
		layout.Settle();
		rows_at = memory.data();
		return 0;
	}
	if (path == ReadPath::kSnapshot) {
		// The program leaves 64-bit sums, one after the other.
		for (size_t i = 0; i < layout.fields.size(); i++) {
			layout.fields[i].offset = static_cast<uint32_t>(key_area + 8 * i);
			layout.fields[i].size = 8;
		}
		layout.stride = layout.slot_size = key_area + 8 * layout.fields.size();
		layout.cpus = 1;
		layout.per_cpu = false;
		layout.Settle();
		rows_at = memory.data();
		command_.attr.test.prog_fd = program.get();
		return 0;
	}
	layout.Settle();
	walk.emplace(shape, path == ReadPath::kBatch, false);
	int error = raw.Allocate(static_cast<size_t>(capacity) * shape.slot_size);
	rows_at = raw.data;
	bool array = shape.type == BPF_MAP_TYPE_ARRAY || shape.type == BPF_MAP_TYPE_PERCPU_ARRAY;
	whole_array_ = path == ReadPath::kBatch && array && capacity >= shape.max_entries;
	command_.attr.batch.map_fd = fd.get();
	command_.attr.batch.out_batch = reinterpret_cast<uintptr_t>(&cursor_);
	command_.attr.batch.values = reinterpret_cast<uintptr_t>(raw.data);
	return error;
}

int CounterSource::FillByWalk(uint8_t *keys, uint32_t *rows)
{
	walk->Rewind();
	int error = walk->Next(fd.get(), keys ? keys : own_keys.data, raw.data, capacity, rows);
	// A hash that fills the arrays to the last row may hold another.
	return error || walk->done() ? error : -ENOSPC;
}

void CounterSource::CopyKeys(uint8_t *keys, uint32_t rows) const
{
	for (uint32_t row = 0; row < rows; row++)
		memcpy(keys + static_cast<size_t>(row) * shape.key_size, rows_at + row * layout.slot_size,
		       shape.key_size);
}

void CounterSource::Release()
{
	fd.Reset();
	program.Reset();
	memory.Unmap();
	raw.Free();
	own_keys.Free();
}

int CounterSource::CopyTo(CounterSource *out) const
{
	out->path = path == ReadPath::kSnapshot ? ReadPath::kBatch : path;
	out->shape = shape;
	out->chosen = chosen;
	out->capacity = capacity;
	out->fd = UniqueFd::Duplicate(fd.get());
	if (!out->fd.valid())
		return -errno;
	if (path == ReadPath::kMmap) {
		int error = out->memory.Map(out->fd.get(), shape, false);
		if (error)
			return error;
	}
	int error = out->own_keys.Allocate(static_cast<size_t>(capacity) * shape.key_size);
	return error ? error : out->Prepare();
}

namespace
{

bool ReadPathOf(Napi::Env env, Napi::Value value, ReadPath *out)
{
	std::string name;
	if (!ReadString(env, value, "via", &name))
		return false;
	*out = name == "mmap"       ? ReadPath::kMmap
	       : name == "snapshot" ? ReadPath::kSnapshot
	       : name == "batch"    ? ReadPath::kBatch
	                            : ReadPath::kLookup;
	return true;
}

// Triples of offset, size and sign, inside of one value.
bool ReadFields(Napi::Env env, Napi::Value value, uint32_t value_size, std::vector<CounterField> *out)
{
	if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
		Napi::TypeError::New(env, "Expected a Uint32Array for fields").ThrowAsJavaScriptException();
		return false;
	}
	Napi::Uint32Array numbers = value.As<Napi::Uint32Array>();
	for (size_t i = 0; i + 3 <= numbers.ElementLength(); i += 3) {
		uint32_t offset = numbers[i], size = numbers[i + 1];
		if ((size != 1 && size != 2 && size != 4 && size != 8) || offset > value_size ||
		    size > value_size - offset) {
			Napi::RangeError::New(env, "Expected fields inside of the value")
			        .ThrowAsJavaScriptException();
			return false;
		}
		out->push_back({offset, static_cast<uint8_t>(size), numbers[i + 2] != 0});
	}
	return true;
}

napi_value ThrowBusy(napi_env env)
{
	Failure failure;
	failure.code = "ERR_EBPF_BUSY";
	failure.operation = "read";
	failure.message = "readAsync() is at work";
	return failure.Throw(env);
}

bool Usable(napi_env env, const ReaderState &state)
{
	if (!state.closed && !state.busy)
		return true;
	if (state.closed)
		ThrowClosed(env, "map reader");
	else
		ThrowBusy(env);
	return false;
}

__attribute__((always_inline)) inline int ReadNumbers(ReaderState *state, uint32_t *rows)
{
	CounterSource &source = state->source;
	int error = source.Fill(state->keys.bytes(), rows);
	if (error)
		return error;
	double *values = state->values.as<double>();
	bool exact = FewToDoubles(source.layout, source.rows_at, *rows, values) ||
	             ToDoubles(source.layout, source.rows_at, *rows, values);
	state->status.as<int32_t>()[0] = !exact;
	return 0;
}

// readCounters(number): status[1] is rows then, -1 where there are more than `capacity`. To return a number
// would cost as much again.
napi_value Read(napi_env env, napi_callback_info info)
{
	ReaderState *found = NumberedState<ReaderState>(env, info);
	if (!found)
		return ThrowClosed(env, "map reader");
	ReaderState &state = *found;
	if (state.closed || state.busy) {
		Usable(env, state);
		return nullptr;
	}
	uint32_t rows = 0;
	int error = ReadNumbers(&state, &rows);
	if (error && error != -ENOSPC)
		return Failure::FromErrno(error, "read map").Throw(env);
	state.status.as<int32_t>()[1] = error ? -1 : static_cast<int32_t>(rows);
	return nullptr;
}

// readWide(out): the same, as 64-bit integers into a BigUint64Array of the caller's.
napi_value ReadWide(napi_env env, napi_callback_info info)
{
	napi_value argument;
	ReaderState &state = BoundState<ReaderState>(env, info, &argument);
	if (!Usable(env, state))
		return nullptr;
	CounterSource &source = state.source;
	BoundMemory out;
	if (!out.Bind(env, argument, "out", 8 * source.layout.width() * source.capacity))
		return nullptr;
	uint32_t rows = 0;
	int error = source.Fill(state.keys.bytes(), &rows);
	if (error && error != -ENOSPC)
		return Failure::FromErrno(error, "read map").Throw(env);
	if (!error)
		ToIntegers(source.layout, source.rows_at, rows, out.as<uint64_t>());
	napi_value result;
	napi_create_int32(env, error ? -1 : static_cast<int32_t>(rows), &result);
	return result;
}

// The arrays are shared memory, and bound: the pool may write them. An env that ends first drops the promise.
class ReadWorker : public PromiseWorker
{
public:
	ReadWorker(Napi::Env env, std::shared_ptr<ReaderState> state)
	    : PromiseWorker(env, "node-ebpf:read"), state_(std::move(state))
	{
		state_->busy = true;
	}
	~ReadWorker() override { state_->busy = false; }

private:
	void Execute() override { error_ = ReadNumbers(state_.get(), &rows_); }
	void OnOK() override
	{
		state_->busy = false;
		if (state_->closed)
			state_->source.Release();
		if (error_ && error_ != -ENOSPC)
			Reject(Failure::FromErrno(error_, "read map"));
		else
			Resolve(Napi::Number::New(Env(), error_ ? -1 : static_cast<double>(rows_)));
	}

	std::shared_ptr<ReaderState> state_;
	uint32_t rows_ = 0;
	int error_ = 0;
};

napi_value ReadAsync(napi_env env, napi_callback_info info)
{
	void *data;
	napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
	std::shared_ptr<ReaderState> state = *static_cast<std::shared_ptr<ReaderState> *>(data);
	if (!Usable(env, *state))
		return nullptr;
	return PromiseWorker::Start(std::make_unique<ReadWorker>(env, state));
}

napi_value CloseReader(napi_env env, napi_callback_info info)
{
	ReaderState &state = BoundState<ReaderState>(env, info);
	state.closed = true;
	if (!state.busy) // else when the pool is done
		state.source.Release();
	return nullptr;
}

napi_value Sample(napi_env env, napi_callback_info info)
{
	napi_value argument;
	ReaderState &state = BoundState<ReaderState>(env, info, &argument);
	if (!Usable(env, state))
		return nullptr;
	return StartSampler(env, state.source, Napi::Value(env, argument));
}

} // namespace

void DefineReaderFunctions(Napi::Env env, Napi::Object exports)
{
	AddTableFunction(exports, "readCounters", Read, Addon::Of(env).readers().get());
}

// reader({ via, fields, perCpu, capacity, keys, values, status, program?, out?, keyArea? }): { number,
// readWide, readAsync, sample, close }
Napi::Value Map::Reader(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	if (!open())
		return ThrowClosed(env, "map");
	if (!info[0].IsObject()) {
		Napi::TypeError::New(env, "Expected an object").ThrowAsJavaScriptException();
		return env.Undefined();
	}
	Napi::Object options = info[0].As<Napi::Object>();
	const MapShape &shape = state_->shape;
	auto state = std::make_shared<ReaderState>(Addon::Of(env).readers());
	CounterSource &source = state->source;
	source.shape = shape;
	source.chosen.stride = shape.stride;
	source.chosen.slot_size = shape.slot_size;
	source.chosen.cpus = shape.cpus;
	source.chosen.per_cpu = ReadFlag(env, options.Get("perCpu"));
	if (!ReadPathOf(env, options.Get("via"), &source.path) ||
	    !ReadFields(env, options.Get("fields"), shape.value_size, &source.chosen.fields) ||
	    !ReadUint32(env, options.Get("capacity"), "capacity", &source.capacity))
		return env.Undefined();
	size_t width = source.chosen.width();
	if (!state->keys.Bind(env, options.Get("keys"), "keys",
	                      static_cast<size_t>(source.capacity) * shape.key_size) ||
	    !state->values.Bind(env, options.Get("values"), "values", 8 * width * source.capacity) ||
	    !state->status.Bind(env, options.Get("status"), "status", 8))
		return env.Undefined();
	// An array has max_entries rows, whatever is in them.
	bool all_rows = source.path == ReadPath::kMmap ||
	                (source.path == ReadPath::kSnapshot && IsAbsent(env, options.Get("keyArea")));
	if (all_rows && source.capacity < shape.max_entries) {
		Napi::RangeError::New(env, "Expected a capacity of all entries").ThrowAsJavaScriptException();
		return env.Undefined();
	}
	source.fd = UniqueFd::Duplicate(fd());
	if (!source.fd.valid())
		return Failure::FromErrno(errno, "dup").Throw(env);
	int error = 0;
	if (source.path == ReadPath::kMmap) {
		error = source.memory.Map(source.fd.get(), shape, false);
	} else if (source.path == ReadPath::kSnapshot) {
		Program *program = Program::FromValue(env, options.Get("program"));
		Map *out = program ? Map::FromValue(env, options.Get("out")) : nullptr;
		uint32_t key_area = 0;
		if (!out || (!all_rows && !ReadUint32(env, options.Get("keyArea"), "keyArea", &key_area)))
			return env.Undefined();
		const MapShape &sums = out->state()->shape;
		if (key_area % 8 != 0 || (key_area && key_area < shape.key_size) ||
		    sums.value_size < key_area + 8 * width || sums.value_size % 8 != 0 ||
		    sums.value_size != key_area + 8 * width || sums.max_entries < source.capacity) {
			Napi::RangeError::New(env, "Expected room for the sums").ThrowAsJavaScriptException();
			return env.Undefined();
		}
		source.key_area = key_area;
		source.program = UniqueFd::Duplicate(program->fd());
		if (!source.program.valid())
			return Failure::FromErrno(errno, "dup").Throw(env);
		error = source.memory.Map(out->fd(), sums, false);
	}
	if (error)
		return Failure::FromErrno(error, "mmap").Throw(env);
	error = source.Prepare();
	if (error)
		return Failure::FromErrno(error, "malloc").Throw(env);
	Napi::Object result = Napi::Object::New(env);
	result.Set("number", state->number);
	AddFunction(result, "readWide", ReadWide, state);
	AddFunction(result, "readAsync", ReadAsync, state);
	AddFunction(result, "sample", Sample, state);
	AddFunction(result, "close", CloseReader, state);
	return result;
}

} // namespace node_ebpf
