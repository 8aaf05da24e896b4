// SPDX-License-Identifier: Apache-2.0
#include "kernel/enums.h"

#include "base/arguments.h"
#include "btf/types.h"
#include "base/errors.h"
#include "base/promise_worker.h"

#include <bpf/btf.h>
#include <cstring>

namespace node_ebpf
{

namespace
{

constexpr const char *kRunningKernel = "/sys/kernel/btf/vmlinux";

struct Enumerator {
	std::string name;
	double value;
};

// BTF's enum says by its flag whether its values are signed.
void ReadEnum(const struct btf *btf, const struct btf_type *type, std::vector<Enumerator> *out)
{
	for (uint32_t i = 0; i < btf_vlen(type); i++) {
		const struct btf_enum *member = btf_enum(type) + i;
		const char *name = btf__name_by_offset(btf, member->name_off);
		double value = btf_kflag(type) ? static_cast<double>(member->val)
		                               : static_cast<double>(static_cast<uint32_t>(member->val));
		if (name && *name)
			out->push_back({name, value});
	}
}

// 0, or a negative errno. An enum that the kernel does not have has no enumerators.
int ReadKernelEnum(const std::string &wanted, std::vector<Enumerator> *out)
{
	int error = 0;
	BtfPointer btf = ParseBtfFile(kRunningKernel, nullptr, &error);
	if (!btf)
		return error;
	uint32_t count = btf__type_cnt(btf.get());
	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(btf.get(), id);
		if (!btf_is_enum(type) || btf_vlen(type) == 0)
			continue;
		const char *name = btf__name_by_offset(btf.get(), type->name_off);
		if (name && wanted == name) {
			ReadEnum(btf.get(), type, out);
			return 0;
		}
	}
	return 0;
}

// The kernel's BTF is megabytes: on the pool.
class KernelEnumWorker : public PromiseWorker
{
public:
	KernelEnumWorker(Napi::Env env, std::string name)
	    : PromiseWorker(env, "node-ebpf:kernel-enum"), name_(std::move(name))
	{
	}

private:
	void Execute() override { error_ = ReadKernelEnum(name_, &enumerators_); }
	void OnOK() override
	{
		Napi::Env env = Env();
		if (error_) {
			Reject(Failure::FromErrno(error_, "btf__parse"));
			return;
		}
		Napi::Array names = Napi::Array::New(env, enumerators_.size());
		Napi::Array values = Napi::Array::New(env, enumerators_.size());
		for (size_t i = 0; i < enumerators_.size(); i++) {
			names.Set(static_cast<uint32_t>(i), enumerators_[i].name);
			values.Set(static_cast<uint32_t>(i), enumerators_[i].value);
		}
		Napi::Object result = Napi::Object::New(env);
		result.Set("names", names);
		result.Set("values", values);
		Resolve(result);
	}

	std::string name_;
	std::vector<Enumerator> enumerators_;
	int error_ = 0;
};

Napi::Value KernelEnum(const Napi::CallbackInfo &info)
{
	std::string name;
	if (!ReadString(info.Env(), info[0], "name", &name))
		return info.Env().Undefined();
	return PromiseWorker::Start(std::make_unique<KernelEnumWorker>(info.Env(), std::move(name)));
}

} // namespace

void DefineKernelEnumFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("kernelEnum", Napi::Function::New(env, KernelEnum, "kernelEnum"));
}

} // namespace node_ebpf
