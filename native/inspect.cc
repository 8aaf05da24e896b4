// SPDX-License-Identifier: Apache-2.0
#include "inspect.h"

#include "arguments.h"
#include "globals.h"
#include "log.h"
#include "options.h"
#include "object.h"

#include "elf/elf_rules.h"

#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <gelf.h>
#include <libelf.h>
#include <memory>

namespace node_ebpf
{

namespace
{

constexpr uint16_t kMachineBpf = 247; // EM_BPF, absent from older elf.h

struct ElfCloser {
	void operator()(Elf *elf) const { elf_end(elf); }
};
using ElfPointer = std::unique_ptr<Elf, ElfCloser>;

// The first rule that the file breaks, in the order in which they can be told.
struct Refusal {
	std::string rule;
	std::string message;
	std::vector<std::string> log;
};

struct Sections {
	std::string license;
	bool has_btf = false;
	double core_relocations = 0;
};

// Counts the CO-RE relocations in .BTF.ext: a header, then for each section a record count
// (Documentation/bpf/btf.rst, .BTF.ext section).
double CountCoreRelocations(const Elf_Data *data)
{
	struct Header {
		uint16_t magic;
		uint8_t version, flags;
		uint32_t header_length, func_offset, func_length, line_offset, line_length, core_offset,
		        core_length;
	} header;
	struct Group {
		uint32_t section_name, records;
	} group;
	const auto *bytes = static_cast<const uint8_t *>(data->d_buf);
	if (!bytes || data->d_size < sizeof header)
		return 0;
	memcpy(&header, bytes, sizeof header);
	uint64_t at = uint64_t(header.header_length) + header.core_offset;
	uint64_t end = at + header.core_length;
	uint32_t record_size;
	if (header.header_length < sizeof header || end > data->d_size ||
	    header.core_length < sizeof record_size)
		return 0;
	memcpy(&record_size, bytes + at, sizeof record_size);
	at += sizeof record_size;
	double count = 0;
	while (at + sizeof group <= end) {
		memcpy(&group, bytes + at, sizeof group);
		count += group.records;
		at += sizeof group + uint64_t(group.records) * record_size;
	}
	return count;
}

bool ReadSections(Elf *elf, Sections *out)
{
	size_t names;
	if (elf_getshdrstrndx(elf, &names) != 0)
		return false;
	for (Elf_Scn *section = nullptr; (section = elf_nextscn(elf, section));) {
		const Elf64_Shdr *header = elf64_getshdr(section);
		const char *name = header ? elf_strptr(elf, names, header->sh_name) : nullptr;
		const Elf_Data *data = elf_rawdata(section, nullptr);
		if (!name || !data || header->sh_type != SHT_PROGBITS)
			continue;
		if (!strcmp(name, "license") && data->d_buf)
			out->license.assign(static_cast<const char *>(data->d_buf),
			                    strnlen(static_cast<const char *>(data->d_buf), data->d_size));
		else if (!strcmp(name, ".BTF"))
			out->has_btf = true;
		else if (!strcmp(name, ".BTF.ext"))
			out->core_relocations = CountCoreRelocations(data);
	}
	return true;
}

// The machines that somebody is likely to hand over by mistake.
std::string MachineName(uint16_t machine)
{
	switch (machine) {
	case EM_386:
		return "x86";
	case EM_X86_64:
		return "x86-64";
	case EM_ARM:
		return "ARM";
	case EM_AARCH64:
		return "AArch64";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "PowerPC";
	case EM_S390:
		return "S/390";
	default:
		return "machine " + std::to_string(machine);
	}
}

bool CheckElf(std::vector<uint8_t> &bytes, Sections *sections, Refusal *refusal)
{
	elf_version(EV_CURRENT);
	ElfPointer elf(elf_memory(reinterpret_cast<char *>(bytes.data()), bytes.size()));
	if (!elf) {
		int rule = elf_errno();
		*refusal = {elf_rule_name(rule), elf_errmsg(rule), {}};
		return false;
	}
	const Elf64_Ehdr *header = elf64_getehdr(elf.get());
	if (header->e_machine != kMachineBpf) {
		*refusal = {
		        "elf-machine", "a file for " + MachineName(header->e_machine) + ", not for BPF", {}};
		return false;
	}
	if (header->e_type != ET_REL) {
		*refusal = {"elf-type",
		            "type " + std::to_string(header->e_type) + ", not a relocatable object (1)",
		            {}};
		return false;
	}
	if (!ReadSections(elf.get(), sections)) {
		*refusal = {"elf-section-table", "no section names", {}};
		return false;
	}
	return true;
}

Napi::Object DescribeMap(Napi::Env env, const struct bpf_map *map)
{
	Napi::Object result = Napi::Object::New(env);
	const char *type = libbpf_bpf_map_type_str(bpf_map__type(map));
	result.Set("name", bpf_map__name(map));
	result.Set("type", type ? std::string(type) : std::to_string(bpf_map__type(map)));
	result.Set("keySize", bpf_map__key_size(map));
	result.Set("valueSize", bpf_map__value_size(map));
	result.Set("maxEntries", bpf_map__max_entries(map));
	result.Set("flags", bpf_map__map_flags(map));
	return result;
}

Napi::Object DescribeProgram(Napi::Env env, const struct bpf_program *program)
{
	Napi::Object result = Napi::Object::New(env);
	const char *type = libbpf_bpf_prog_type_str(bpf_program__type(program));
	result.Set("name", bpf_program__name(program));
	result.Set("section", bpf_program__section_name(program));
	result.Set("type", type ? type : "unspec");
	result.Set("instructions", static_cast<double>(bpf_program__insn_cnt(program)));
	return result;
}

Napi::Object DescribeRefusal(Napi::Env env, const Refusal &refusal)
{
	Napi::Object result = Napi::Object::New(env);
	Napi::Object inner = Napi::Object::New(env);
	Napi::Array log = Napi::Array::New(env, refusal.log.size());
	for (size_t i = 0; i < refusal.log.size(); i++)
		log.Set(static_cast<uint32_t>(i), refusal.log[i]);
	inner.Set("rule", refusal.rule);
	inner.Set("message", refusal.message);
	inner.Set("log", log);
	result.Set("refused", inner);
	return result;
}

Napi::Value Inspect(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	ByteSpan span;
	if (!ReadBytes(env, info[0], "source", 0, &span))
		return env.Undefined();
	std::vector<uint8_t> bytes(span.data, span.data + span.size);
	Sections sections;
	Refusal refusal;
	if (!CheckElf(bytes, &sections, &refusal))
		return DescribeRefusal(env, refusal);
	LogCapture capture;
	Zeroed<struct bpf_object_open_opts> opts;
	opts.object_name = "inspect";
	int error = 0;
	ObjectPointer object = OpenObject(bytes, &opts, &error);
	if (!object) {
		Failure failure = Failure::FromErrno(error, "bpf_object__open_mem", capture.Take());
		return DescribeRefusal(env, {"object-open", failure.message, failure.log});
	}
	Napi::Array programs = Napi::Array::New(env);
	Napi::Array maps = Napi::Array::New(env);
	uint32_t program_count = 0, map_count = 0;
	struct bpf_program *program;
	bpf_object__for_each_program(program, object.get())
	        programs.Set(program_count++, DescribeProgram(env, program));
	struct bpf_map *map;
	bpf_object__for_each_map(map, object.get()) maps.Set(map_count++, DescribeMap(env, map));
	Napi::Object result = Napi::Object::New(env);
	result.Set("license", sections.license);
	result.Set("hasBtf", sections.has_btf);
	result.Set("coreRelocations", sections.core_relocations);
	result.Set("programs", programs);
	result.Set("maps", maps);
	result.Set("globals", DescribeGlobals(env, object.get()));
	return result;
}

} // namespace

void DefineInspectFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("inspect", Napi::Function::New(env, Inspect, "inspect"));
}

} // namespace node_ebpf
