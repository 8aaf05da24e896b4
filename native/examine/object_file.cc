// SPDX-License-Identifier: Apache-2.0
#include "examine/object_file.h"

#include "elf/elf_rules.h"

#include <algorithm>
#include <cstring>
#include <gelf.h>
#include <libelf.h>
#include <linux/bpf.h>

namespace node_ebpf
{

namespace
{

constexpr uint16_t kMachineBpf = 247; // EM_BPF, absent from older elf.h

// libbpf copies the bytes and the name of each function. Two names for one function are in order; a thousand
// names for a megabyte of code are a gigabyte of copies.
constexpr uint64_t kMostCopies = 8;
// It also grows its array of programs by one each time.
constexpr size_t kMostFunctions = 8192;
constexpr size_t kMostRefusals = 100;

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

View ViewOf(const Elf_Data *data)
{
	if (!data || !data->d_buf)
		return {};
	return {static_cast<const uint8_t *>(data->d_buf), data->d_size};
}

bool StartsWith(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

// The contents by the reader's rules for them; what breaks one is named with its section.
View Contents(Elf_Scn *section, const char *name, std::vector<Refusal> *refusals)
{
	elf_errno();
	const Elf_Data *data = elf_getdata(section, nullptr);
	if (!data) {
		int rule = elf_errno();
		if (rule != ELF_RULE_NONE)
			refusals->push_back({elf_rule_name(rule),
			                     "section " + Shown(name) + ": " + elf_errmsg(rule),
			                     {}});
	}
	return ViewOf(data);
}

} // namespace

void ElfCloser::operator()(Elf *elf) const
{
	elf_end(elf);
}

void ObjectFile::Open(std::vector<uint8_t> &bytes, std::vector<Refusal> *refusals)
{
	elf_version(EV_CURRENT);
	elf_.reset(elf_memory(reinterpret_cast<char *>(bytes.data()), bytes.size()));
	if (!elf_)
		return CheckIdentity(bytes, elf_errno(), refusals);
	if (!CheckHeader(refusals))
		return;
	ReadSections(refusals);
	ReadFunctions(refusals);
	readable_ = CheckCopies(bytes.size(), refusals);
}

// The reader stops at the first thing that it cannot read past. Word size and byte order are in bytes of
// their own: a file can be wrong in both.
void ObjectFile::CheckIdentity(const std::vector<uint8_t> &bytes, int rule, std::vector<Refusal> *refusals)
{
	refusals->push_back({elf_rule_name(rule), elf_errmsg(rule), {}});
	uint16_t one = 1;
	uint8_t little;
	memcpy(&little, &one, 1);
	if (rule == ELF_RULE_CLASS && bytes.size() > EI_DATA &&
	    bytes[EI_DATA] != (little ? ELFDATA2LSB : ELFDATA2MSB))
		refusals->push_back(
		        {elf_rule_name(ELF_RULE_BYTE_ORDER), elf_errmsg(ELF_RULE_BYTE_ORDER), {}});
}

bool ObjectFile::CheckHeader(std::vector<Refusal> *refusals)
{
	const Elf64_Ehdr *header = elf64_getehdr(elf_.get());
	if (header->e_machine != kMachineBpf)
		refusals->push_back({"elf-machine",
		                     "a file for " + MachineName(header->e_machine) + ", not for BPF",
		                     {}});
	else if (header->e_type != ET_REL)
		refusals->push_back(
		        {"elf-type",
		         "type " + std::to_string(header->e_type) + ", not a relocatable object (1)",
		         {}});
	return refusals->empty();
}

void ObjectFile::ReadSections(std::vector<Refusal> *refusals)
{
	size_t names;
	if (elf_getshdrstrndx(elf_.get(), &names) != 0) {
		refusals->push_back({"elf-section-table", "no section names", {}});
		return;
	}
	for (Elf_Scn *section = nullptr; (section = elf_nextscn(elf_.get(), section));) {
		const Elf64_Shdr *header = elf64_getshdr(section);
		const char *name = header ? elf_strptr(elf_.get(), names, header->sh_name) : nullptr;
		if (!name)
			continue; // libbpf refuses the file and says so
		if (header->sh_type == SHT_SYMTAB && !symbols_.data) {
			symbols_ = Contents(section, name, refusals);
			symbol_names_ = header->sh_link;
			continue;
		}
		if (header->sh_type != SHT_PROGBITS)
			continue;
		auto index = static_cast<uint32_t>(elf_ndxscn(section));
		if (!strcmp(name, "license")) {
			View text = Contents(section, name, refusals);
			if (text.data)
				license.assign(reinterpret_cast<const char *>(text.data),
				               strnlen(reinterpret_cast<const char *>(text.data), text.size));
		} else if (!strcmp(name, ".BTF")) {
			btf = Contents(section, name, refusals);
			has_btf = true;
		} else if (!strcmp(name, ".BTF.ext")) {
			btf_ext = Contents(section, name, refusals);
		} else if (header->sh_flags & SHF_EXECINSTR && header->sh_size > 0) {
			if (!strcmp(name, ".text"))
				text_ = static_cast<uint32_t>(code.size());
			code.push_back({index, name, Contents(section, name, refusals), {}});
		} else if (!strcmp(name, ".rodata") || StartsWith(name, ".rodata.")) {
			constants_.emplace_back(index, Contents(section, name, refusals));
		}
	}
	ReadRelocations(names, refusals);
}

void ObjectFile::ReadRelocations(size_t names, std::vector<Refusal> *refusals)
{
	for (Elf_Scn *section = nullptr; (section = elf_nextscn(elf_.get(), section));) {
		const Elf64_Shdr *header = elf64_getshdr(section);
		if (!header || header->sh_type != SHT_REL)
			continue;
		auto target = std::lower_bound(
		        code.begin(), code.end(), header->sh_info,
		        [](const Code &entry, uint32_t index) { return entry.section < index; });
		if (target == code.end() || target->section != header->sh_info)
			continue;
		const char *name = elf_strptr(elf_.get(), names, header->sh_name);
		View relocations = Contents(section, name ? name : "?", refusals);
		// A section has one table of them; the first that has any counts.
		if (!target->relocations.data)
			target->relocations = relocations;
	}
}

// As libbpf's ignore_elf_section(): it reads neither DWARF nor string tables.
void ObjectFile::CheckSections(std::vector<Refusal> *refusals) const
{
	size_t names;
	if (elf_getshdrstrndx(elf_.get(), &names) != 0)
		return;
	for (Elf_Scn *section = nullptr; (section = elf_nextscn(elf_.get(), section));) {
		const Elf64_Shdr *header = elf64_getshdr(section);
		const char *name = header ? elf_strptr(elf_.get(), names, header->sh_name) : nullptr;
		bool ignored = !header || header->sh_type == SHT_STRTAB ||
		               (name && (StartsWith(name, ".debug_") || StartsWith(name, ".rel.debug_") ||
		                         !strcmp(name, ".rel.BTF") || !strcmp(name, ".rel.BTF.ext")));
		if (!ignored && refusals->size() < kMostRefusals)
			Contents(section, name ? name : "?", refusals);
	}
}

bool ObjectFile::ReadSymbol(uint32_t index, Symbol *out) const
{
	Elf64_Sym symbol;
	if (index >= symbols_.size / sizeof symbol)
		return false;
	memcpy(&symbol, symbols_.data + index * sizeof symbol, sizeof symbol);
	*out = {symbol.st_value, symbol.st_name, symbol.st_shndx,
	        static_cast<uint8_t>(ELF64_ST_TYPE(symbol.st_info))};
	return true;
}

std::string ObjectFile::SymbolName(const Symbol &symbol) const
{
	const char *name = elf_strptr(elf_.get(), symbol_names_, symbol.name);
	return name ? Shown(name) : "";
}

void ObjectFile::ReadFunctions(std::vector<Refusal> *refusals)
{
	constexpr size_t kSize = sizeof(struct bpf_insn);
	Elf64_Sym symbol;
	for (size_t i = 0; i < symbols_.size / sizeof symbol; i++) {
		memcpy(&symbol, symbols_.data + i * sizeof symbol, sizeof symbol);
		if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC)
			continue;
		auto section = std::lower_bound(
		        code.begin(), code.end(), symbol.st_shndx,
		        [](const Code &entry, uint32_t index) { return entry.section < index; });
		if (section == code.end() || section->section != symbol.st_shndx || !section->bytes.data)
			continue;
		const char *name = elf_strptr(elf_.get(), symbol_names_, symbol.st_name);
		// The reader has checked that it lies in its section.
		if (symbol.st_value % kSize || symbol.st_size % kSize || symbol.st_size == 0) {
			refusals->push_back({"code-size",
			                     "function " + Shown(name ? name : "?") + " has " +
			                             std::to_string(symbol.st_size) + " bytes at offset " +
			                             std::to_string(symbol.st_value) +
			                             ", and an instruction 8",
			                     {}});
			if (refusals->size() >= kMostRefusals)
				return;
			continue;
		}
		auto index = static_cast<uint32_t>(section - code.begin());
		functions.push_back({name ? name : "", index, static_cast<uint32_t>(symbol.st_value / kSize),
		                     static_cast<uint32_t>(symbol.st_size / kSize), false});
	}
	std::sort(functions.begin(), functions.end(), [](const Function &a, const Function &b) {
		return a.code != b.code ? a.code < b.code : a.first < b.first;
	});
	text_begin_ = functions.size();
	for (size_t i = 0; i < functions.size(); i++) {
		if (functions[i].code != text_)
			continue;
		functions[i].subprogram = functions.size() > 1;
		text_begin_ = std::min(text_begin_, i);
		text_end_ = i + 1;
	}
}

bool ObjectFile::CheckCopies(size_t file_size, std::vector<Refusal> *refusals) const
{
	uint64_t most = kMostCopies * file_size, bytes = 0, names = 0;
	for (const Function &function : functions) {
		bytes += uint64_t(function.count) * sizeof(struct bpf_insn);
		if (names <= most)
			names += strlen(function.name) + strlen(code[function.code].name);
	}
	if (bytes > most)
		refusals->push_back(
		        {"function-overlap",
		         "the functions overlap: together they are " + std::to_string(bytes) + " bytes",
		         {}});
	if (names > most)
		refusals->push_back({"function-overlap",
		                     "the functions' names overlap: together they are over " +
		                             std::to_string(most) + " bytes",
		                     {}});
	if (functions.size() > kMostFunctions)
		refusals->push_back({"function-overlap",
		                     std::to_string(functions.size()) + " functions, over the limit of " +
		                             std::to_string(kMostFunctions),
		                     {}});
	return bytes <= most && names <= most && functions.size() <= kMostFunctions;
}

View ObjectFile::Constants(uint32_t section) const
{
	auto found = std::lower_bound(constants_.begin(), constants_.end(), section,
	                              [](const auto &entry, uint32_t index) { return entry.first < index; });
	return found != constants_.end() && found->first == section ? found->second : View();
}

uint32_t ObjectFile::FunctionAt(int64_t text_instruction) const
{
	auto begin = functions.begin() + static_cast<ptrdiff_t>(text_begin_);
	auto end = functions.begin() + static_cast<ptrdiff_t>(std::max(text_begin_, text_end_));
	auto found = std::lower_bound(begin, end, text_instruction, [](const Function &function, int64_t at) {
		return function.first < at;
	});
	if (found == end || found->first != text_instruction)
		return kNone;
	return static_cast<uint32_t>(found - functions.begin());
}

} // namespace node_ebpf
