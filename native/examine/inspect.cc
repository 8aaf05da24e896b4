// SPDX-License-Identifier: Apache-2.0
#include "examine/inspect.h"

#include "base/addon.h"
#include "base/arguments.h"
#include "examine/examination.h"
#include "examine/kernel_helpers.h"
#include "examine/globals.h"
#include "base/log.h"
#include "base/promise_worker.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cstring>
#include <unordered_map>

namespace node_ebpf
{

namespace
{

using DeclaredSizes = std::unordered_map<std::string, uint32_t>;

// libbpf makes as many maps of one definition as there are variables.
constexpr uint32_t kMostMembers = 1 << 20;

// max_entries as the source has them: libbpf rounds a ring's up when it opens the object.
DeclaredSizes DeclaredMaxEntries(const struct btf *btf)
{
	DeclaredSizes result;
	int32_t section = btf ? btf__find_by_name_kind(btf, ".maps", BTF_KIND_DATASEC) : -1;
	if (section <= 0)
		return result;
	const struct btf_type *maps = btf__type_by_id(btf, static_cast<uint32_t>(section));
	uint32_t looked = 0;
	for (uint32_t i = 0; i < btf_vlen(maps); i++) {
		const struct btf_type *var = btf__type_by_id(btf, btf_var_secinfos(maps)[i].type);
		const char *map_name =
		        var && btf_is_var(var) ? btf__name_by_offset(btf, var->name_off) : nullptr;
		const struct btf_type *definition = map_name ? btf__type_by_id(btf, var->type) : nullptr;
		if (!definition || !btf_is_struct(definition) || Shown(map_name) != map_name)
			continue;
		for (uint32_t member = 0; member < btf_vlen(definition); member++) {
			if (looked++ == kMostMembers)
				return result;
			const struct btf_member &field = btf_members(definition)[member];
			const char *name = btf__name_by_offset(btf, field.name_off);
			const struct btf_type *pointer = btf__type_by_id(btf, field.type);
			const struct btf_type *array = pointer && btf_is_ptr(pointer)
			                                       ? btf__type_by_id(btf, pointer->type)
			                                       : nullptr;
			if (name && !strcmp(name, "max_entries") && array && btf_is_array(array))
				result[map_name] = btf_array(array)->nelems;
		}
	}
	return result;
}

Napi::Object DescribeMap(Napi::Env env, const struct bpf_map *map, const DeclaredSizes &declared)
{
	Napi::Object result = Napi::Object::New(env);
	const char *type = libbpf_bpf_map_type_str(bpf_map__type(map));
	result.Set("name", bpf_map__name(map));
	result.Set("type", type ? std::string(type) : std::to_string(bpf_map__type(map)));
	result.Set("keySize", bpf_map__key_size(map));
	result.Set("valueSize", bpf_map__value_size(map));
	result.Set("maxEntries", bpf_map__max_entries(map));
	result.Set("flags", bpf_map__map_flags(map));
	result.Set("internal", bpf_map__is_internal(map));
	auto found = declared.find(Shown(bpf_map__name(map)));
	if (found != declared.end())
		result.Set("declaredMaxEntries", found->second);
	if (const struct bpf_map *inner = bpf_map__inner_map(const_cast<struct bpf_map *>(map)))
		result.Set("inner", DescribeMap(env, inner, DeclaredSizes()));
	return result;
}

Napi::Object DescribeProgram(Napi::Env env, const struct bpf_program *program, const LoadedSize *size)
{
	Napi::Object result = Napi::Object::New(env);
	const char *type = libbpf_bpf_prog_type_str(bpf_program__type(program));
	result.Set("name", bpf_program__name(program));
	result.Set("section", bpf_program__section_name(program));
	result.Set("type", type ? type : "unspec");
	result.Set("instructions",
	           size ? size->instructions : static_cast<double>(bpf_program__insn_cnt(program)));
	result.Set("tooManyFunctions", size && size->too_many);
	return result;
}

// libbpf has its programs in the order of ObjectFile's functions, without those that are called.
Napi::Array DescribePrograms(Napi::Env env, const Examination &examined)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	size_t next = 0;
	const struct bpf_program *program = nullptr;
	while ((program = bpf_object__next_program(examined.object.get(),
	                                           const_cast<struct bpf_program *>(program)))) {
		const std::vector<Function> &functions = examined.file.functions;
		while (next < functions.size() && functions[next].subprogram)
			next++;
		bool same =
		        next < functions.size() && functions[next].count == bpf_program__insn_cnt(program);
		result.Set(count++,
		           DescribeProgram(env, program, same ? &examined.calls.programs[next] : nullptr));
		next++;
	}
	return result;
}

Napi::Array DescribeMaps(Napi::Env env, const Examination &examined)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	DeclaredSizes declared = DeclaredMaxEntries(examined.btf.get());
	struct bpf_map *map;
	bpf_object__for_each_map(map, examined.object.get())
	        result.Set(count++, DescribeMap(env, map, declared));
	return result;
}

Napi::Array Strings(Napi::Env env, const std::vector<std::string> &lines)
{
	Napi::Array result = Napi::Array::New(env, lines.size());
	for (size_t i = 0; i < lines.size(); i++)
		result.Set(static_cast<uint32_t>(i), lines[i]);
	return result;
}

Napi::Array DescribeRefusals(Napi::Env env, const std::vector<Refusal> &refusals)
{
	Napi::Array result = Napi::Array::New(env, refusals.size());
	for (size_t i = 0; i < refusals.size(); i++) {
		Napi::Object refusal = Napi::Object::New(env);
		refusal.Set("rule", refusals[i].rule);
		refusal.Set("message", refusals[i].message);
		refusal.Set("log", Strings(env, refusals[i].log));
		result.Set(static_cast<uint32_t>(i), refusal);
	}
	return result;
}

// Where an instruction is: its function, its number in it, and the source line where BTF has one.
Napi::Object DescribePlace(Napi::Env env, const Examination &examined, uint32_t index, uint32_t instruction)
{
	const Function &function = examined.file.functions[index];
	Napi::Object result = Napi::Object::New(env);
	result.Set("function", Shown(function.name));
	result.Set("subprogram", function.subprogram);
	result.Set("section", Shown(examined.file.code[function.code].name));
	result.Set("instruction", instruction);
	if (const LineRecord *line = examined.LineOf(index, instruction)) {
		const char *file = btf__str_by_offset(examined.btf.get(), line->file);
		result.Set("file", Shown(file ? file : ""));
		result.Set("line", line->line);
	}
	return result;
}

Napi::Array DescribeDefects(Napi::Env env, const Examination &examined)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (const Defect &defect : examined.decoded.defects.list) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("rule", defect.rule);
		entry.Set("value", static_cast<double>(defect.value));
		entry.Set("place", DescribePlace(env, examined, defect.function, defect.instruction));
		result.Set(count++, entry);
	}
	return result;
}

Napi::Array DescribeKernelCalls(Napi::Env env, const Examination &examined)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (const KernelCall &call : examined.decoded.kernel_calls) {
		if (!examined.calls.used[call.function])
			continue;
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("name", call.name);
		entry.Set("kind", call.helper ? "helper" : "kfunc");
		entry.Set("place", DescribePlace(env, examined, call.function, call.instruction));
		result.Set(count++, entry);
	}
	return result;
}

Napi::Array DescribeCoreDefects(Napi::Env env, const Examination &examined)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (const CoreDefect &defect : examined.core_defects) {
		Napi::Object entry = Napi::Object::New(env);
		entry.Set("rule", defect.rule);
		entry.Set("type", defect.type);
		entry.Set("field", defect.field);
		entry.Set("words", defect.words);
		entry.Set("certain", defect.reach == Reach::kYes);
		entry.Set("place", DescribePlace(env, examined, defect.function, defect.instruction));
		result.Set(count++, entry);
	}
	return result;
}

Napi::Object Describe(Napi::Env env, const Examination &examined)
{
	Napi::Object result = Napi::Object::New(env);
	result.Set("refusals", DescribeRefusals(env, examined.refusals));
	if (!examined.readable)
		return result;
	result.Set("license", examined.file.license);
	result.Set("hasBtf", examined.file.has_btf);
	result.Set("coreRelocations", examined.btf_ext.relocation_count);
	result.Set("defects", DescribeDefects(env, examined));
	result.Set("defectsLeftOut", static_cast<double>(examined.decoded.defects.left_out));
	result.Set("restrictedCalls", DescribeKernelCalls(env, examined));
	result.Set("coreDefects", DescribeCoreDefects(env, examined));
	result.Set("coreUnresolved", static_cast<double>(examined.core_unresolved));
	if (examined.kernel_btf_error)
		result.Set("kernelBtfError",
		           Failure::FromErrno(examined.kernel_btf_error, "btf__parse").message);
	if (!examined.object)
		return result;
	result.Set("log", Strings(env, examined.log));
	result.Set("programs", DescribePrograms(env, examined));
	result.Set("maps", DescribeMaps(env, examined));
	result.Set("globals", DescribeGlobals(env, examined.object.get()));
	return result;
}

Napi::Value Inspect(const Napi::CallbackInfo &info)
{
	ByteSpan span;
	if (!ReadBytes(info.Env(), info[0], "source", 0, &span))
		return info.Env().Undefined();
	Examination examined;
	examined.Run({span.data, span.data + span.size}, std::nullopt);
	// A load says the same: then onLog() is not to hear it twice.
	if (ReadFlag(info.Env(), info[1]))
		Addon::Of(info.Env()).Say(examined.said);
	return Describe(info.Env(), examined);
}

// The kernel's BTF is megabytes, and relocations may be many: on the pool.
class ExamineWorker : public PromiseWorker
{
public:
	ExamineWorker(Napi::Env env, std::vector<uint8_t> bytes, std::optional<std::string> kernel_btf)
	    : PromiseWorker(env, "node-ebpf:examine"), bytes_(std::move(bytes)),
	      kernel_btf_(std::move(kernel_btf))
	{
	}

private:
	void Execute() override { examined_.Run(std::move(bytes_), kernel_btf_); }
	void OnOK() override
	{
		Addon::Of(Env()).Say(examined_.said);
		Napi::Object result = Describe(Env(), examined_);
		Resolve(result);
	}

	std::vector<uint8_t> bytes_;
	std::optional<std::string> kernel_btf_;
	Examination examined_;
};

Napi::Value Examine(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	ByteSpan span;
	std::optional<std::string> kernel_btf;
	if (!ReadBytes(env, info[0], "source", 0, &span))
		return env.Undefined();
	if (!IsAbsent(env, info[1]) && !ReadString(env, info[1], "btf", &kernel_btf.emplace()))
		return env.Undefined();
	return PromiseWorker::Start(std::make_unique<ExamineWorker>(
	        env, std::vector<uint8_t>(span.data, span.data + span.size), std::move(kernel_btf)));
}

} // namespace

void DefineInspectFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("inspect", Napi::Function::New(env, Inspect, "inspect"));
	exports.Set("examine", Napi::Function::New(env, Examine, "examine"));
}

} // namespace node_ebpf
