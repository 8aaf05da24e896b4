// SPDX-License-Identifier: Apache-2.0
#include "map/sampler.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <pthread.h>
#include <sys/prctl.h>

namespace node_ebpf
{

namespace
{

constexpr int64_t kSecond = 1'000'000'000;

int64_t Now()
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * kSecond + time.tv_nsec;
}

// One writer, the thread, and one reader, the JS thread: head and tail only grow.
class Sampler
{
public:
	~Sampler() { Stop(); }

	CounterSource source;
	BoundMemory times, values;         // the ring
	BoundMemory out_times, out_values; // what drain() hands out
	size_t rows = 0;
	size_t width = 0; // doubles of one sample
	int64_t interval = 0;

	bool Start(napi_env env);
	void Stop();
	uint32_t Drain();
	int error() const { return error_.load(); }
	double missed() const { return static_cast<double>(missed_.load()); }

private:
	static void *Main(void *self);
	static void AtEnvEnd(void *self) { static_cast<Sampler *>(self)->Stop(); }
	void Run();
	void TakeSample(int64_t time);
	bool SleepUntil(int64_t deadline);

	napi_env env_ = nullptr;
	pthread_t thread_{};
	int64_t begun_ = 0;
	bool running_ = false;
	pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t wake_;
	bool stop_ = false;
	std::atomic<uint64_t> head_{0}, tail_{0}, missed_{0};
	std::atomic<int> error_{0};
};

bool Sampler::Start(napi_env env)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&wake_, &attributes);
	pthread_condattr_destroy(&attributes);
	begun_ = Now();
	int error = pthread_create(&thread_, nullptr, Main, this);
	if (error) {
		pthread_cond_destroy(&wake_);
		Failure::FromErrno(error, "pthread_create").Throw(env);
		return false;
	}
	running_ = true;
	env_ = env;
	napi_add_env_cleanup_hook(env, AtEnvEnd, this);
	return true;
}

void Sampler::Stop()
{
	if (!running_)
		return;
	running_ = false;
	pthread_mutex_lock(&mutex_);
	stop_ = true;
	pthread_cond_signal(&wake_);
	pthread_mutex_unlock(&mutex_);
	pthread_join(thread_, nullptr);
	pthread_cond_destroy(&wake_);
	napi_remove_env_cleanup_hook(env_, AtEnvEnd, this);
}

void *Sampler::Main(void *self)
{
	prctl(PR_SET_NAME, "ebpf-sampler");
	// The default lets a timer be 50 µs late.
	prctl(PR_SET_TIMERSLACK, 1);
	static_cast<Sampler *>(self)->Run();
	return nullptr;
}

// False when it is time to stop.
bool Sampler::SleepUntil(int64_t deadline)
{
	struct timespec at = {static_cast<time_t>(deadline / kSecond), static_cast<long>(deadline % kSecond)};
	pthread_mutex_lock(&mutex_);
	int error = 0;
	while (!stop_ && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&wake_, &mutex_, &at);
	bool stop = stop_;
	pthread_mutex_unlock(&mutex_);
	return !stop;
}

// Deadlines are absolute, from the call of sample() on: what one sample is late, the next is not. Intervals
// that passed meanwhile, also before the thread ran, are missed.
void Sampler::Run()
{
	for (int64_t deadline = begun_ + interval; SleepUntil(deadline); deadline += interval) {
		int64_t time = Now();
		int64_t late = (time - deadline) / interval;
		if (late > 0) {
			missed_ += static_cast<uint64_t>(late);
			deadline += late * interval;
		}
		if (head_.load() - tail_.load() < rows)
			TakeSample(time);
		else
			missed_++;
	}
}

void Sampler::TakeSample(int64_t time)
{
	uint64_t head = head_.load();
	uint32_t count = 0;
	int error = source.Fill(nullptr, &count);
	if (error) {
		error_ = error;
		missed_++;
		return;
	}
	ToDoubles(source.layout, source.rows_at, count, values.as<double>() + head % rows * width);
	times.as<double>()[head % rows] = static_cast<double>(time) / 1000;
	head_ = head + 1;
}

uint32_t Sampler::Drain()
{
	uint64_t tail = tail_.load(), count = head_.load() - tail;
	for (uint64_t done = 0; done < count;) {
		uint64_t from = (tail + done) % rows;
		uint64_t chunk = std::min(count - done, rows - from);
		memcpy(out_times.as<double>() + done, times.as<double>() + from, chunk * 8);
		memcpy(out_values.as<double>() + done * width, values.as<double>() + from * width,
		       chunk * width * 8);
		done += chunk;
	}
	tail_ = tail + count;
	return static_cast<uint32_t>(count);
}

// drain(): samples, now in outTimes and outValues.
napi_value DrainSampler(napi_env env, napi_callback_info info)
{
	Sampler &sampler = BoundState<Sampler>(env, info);
	uint32_t count = sampler.Drain();
	if (count == 0 && sampler.error())
		return Failure::FromErrno(sampler.error(), "sample map").Throw(env);
	napi_value result;
	napi_create_uint32(env, count, &result);
	return result;
}

napi_value MissedSamples(napi_env env, napi_callback_info info)
{
	napi_value result;
	napi_create_double(env, BoundState<Sampler>(env, info).missed(), &result);
	return result;
}

napi_value CloseSampler(napi_env env, napi_callback_info info)
{
	Sampler &sampler = BoundState<Sampler>(env, info);
	sampler.Stop();
	sampler.source.Release(); // drain() comes no more, and the collector may take its time
	return nullptr;
}

} // namespace

napi_value StartSampler(napi_env raw_env, const CounterSource &source, Napi::Value value)
{
	Napi::Env env(raw_env);
	if (!value.IsObject()) {
		Napi::TypeError::New(env, "Expected an object").ThrowAsJavaScriptException();
		return nullptr;
	}
	Napi::Object options = value.As<Napi::Object>();
	auto sampler = std::make_shared<Sampler>();
	uint32_t interval_us, rows;
	if (!ReadUint32(env, options.Get("intervalUs"), "intervalUs", &interval_us) ||
	    !ReadUint32(env, options.Get("rows"), "rows", &rows))
		return nullptr;
	if (interval_us == 0 || rows == 0) {
		Napi::RangeError::New(env, "Expected an interval and rows above 0")
		        .ThrowAsJavaScriptException();
		return nullptr;
	}
	sampler->interval = static_cast<int64_t>(interval_us) * 1000;
	sampler->rows = rows;
	sampler->width = source.chosen.width() * source.capacity;
	size_t times = 8 * sampler->rows, values = times * sampler->width;
	if (!sampler->times.Bind(env, options.Get("times"), "times", times) ||
	    !sampler->values.Bind(env, options.Get("values"), "values", values) ||
	    !sampler->out_times.Bind(env, options.Get("outTimes"), "outTimes", times) ||
	    !sampler->out_values.Bind(env, options.Get("outValues"), "outValues", values))
		return nullptr;
	int error = source.CopyTo(&sampler->source);
	if (error)
		return Failure::FromErrno(error, "sample map").Throw(env);
	if (!sampler->Start(env))
		return nullptr;
	Napi::Object result = Napi::Object::New(env);
	AddFunction(result, "drain", DrainSampler, sampler);
	AddFunction(result, "missed", MissedSamples, sampler);
	AddFunction(result, "close", CloseSampler, sampler);
	return result;
}

} // namespace node_ebpf
