// SPDX-License-Identifier: Apache-2.0
#include "examine/instructions.h"

#include "examine/instruction_form.h"
#include "examine/kernel_helpers.h"

#include <algorithm>
#include <bitset>
#include <cstring>
#include <elf.h>

namespace node_ebpf
{

namespace
{

constexpr size_t kMostInFunction = 8; // defects of one rule in a row
constexpr size_t kMostDefects = 1000;
constexpr size_t kMostRemarks = 100;
constexpr size_t kMostKernelCalls = 10000;
constexpr uint8_t kConditionalGoto = 0xe5; // BPF_JMP | BPF_JCOND (may_goto, 6.10)

// The relocations of a section by instruction. An assembler writes them in that order; where a file does not,
// they are sorted here.
std::vector<std::pair<uint32_t, uint32_t>> RelocationsOf(const Code &code)
{
	std::vector<std::pair<uint32_t, uint32_t>> result;
	Elf64_Rel relocation;
	result.reserve(code.relocations.size / sizeof relocation);
	for (size_t at = 0; at + sizeof relocation <= code.relocations.size; at += sizeof relocation) {
		memcpy(&relocation, code.relocations.data + at, sizeof relocation);
		result.emplace_back(static_cast<uint32_t>(relocation.r_offset / sizeof(struct bpf_insn)),
		                    static_cast<uint32_t>(ELF64_R_SYM(relocation.r_info)));
	}
	std::stable_sort(result.begin(), result.end(),
	                 [](const auto &a, const auto &b) { return a.first < b.first; });
	return result;
}

class FunctionDecoder
{
public:
	FunctionDecoder(const ObjectFile &file, uint32_t index,
	                const std::vector<std::pair<uint32_t, uint32_t>> &relocations, Decoded *out)
	    : file_(file), function_(file.functions[index]), index_(index), relocations_(relocations),
	      out_(out), result_(out->functions[index]), second_(function_.count)
	{
	}

	void Run()
	{
		uint32_t count = function_.count;
		for (uint32_t i = 0; i < count; i++) {
			if (IsWide(At(i)) && i + 1 < count)
				second_[++i] = true;
		}
		for (uint32_t i = 0; i < count; i++) {
			if (!second_[i])
				CheckOne(i, At(i));
		}
		struct bpf_insn last = At(count - 1);
		bool leaves = last.code == (BPF_JMP | BPF_EXIT) || last.code == (BPF_JMP | BPF_JA) ||
		              last.code == (BPF_JMP32 | BPF_JA);
		if (second_[count - 1] || !leaves)
			Add("insn-end", count - 1, last.code);
	}

private:
	struct bpf_insn At(uint32_t index) const { return InstructionAt(file_, function_, index); }

	void Add(const char *rule, uint32_t instruction, int64_t value)
	{
		result_.sound = false;
		out_->defects.Add(rule, index_, instruction, value);
	}

	void CheckOne(uint32_t i, const struct bpf_insn &insn)
	{
		FormFaults faults;
		CheckForm(insn, &faults);
		for (int fault = 0; fault < faults.count; fault++)
			Add(faults.list[fault].rule, i, faults.list[fault].value);
		if (IsWide(insn))
			return CheckWide(i, insn);
		if (insn.code == (BPF_JMP | BPF_CALL))
			return CheckCall(i, insn);
		if (!IsJump(insn))
			return;
		int64_t target = JumpTarget(insn, i);
		if (target < 0 || target >= function_.count)
			Add("insn-jump-range", i, target);
		else if (second_[static_cast<size_t>(target)])
			Add("insn-jump-middle", i, target);
	}

	void CheckWide(uint32_t i, const struct bpf_insn &insn)
	{
		if (i + 1 >= function_.count)
			return Add("insn-ld-imm64", i, -1);
		struct bpf_insn next = At(i + 1);
		if (next.code || next.dst_reg || next.src_reg || next.off)
			return Add("insn-ld-imm64", i, -2);
		Symbol symbol;
		if (!Relocation(i, &symbol)) {
			if (insn.src_reg == BPF_PSEUDO_FUNC) // libbpf: "missing subprog addr relo"
				Add("insn-call-target", i, insn.imm);
			return;
		}
		if (insn.src_reg == BPF_PSEUDO_FUNC || InText(symbol)) {
			// libbpf makes the sum of a symbol and an addend, both in bytes.
			int64_t at = static_cast<int64_t>(symbol.value) + insn.imm;
			return AddCall(i, at % 8 || !InText(symbol) ? -1 : at / 8);
		}
		result_.data.push_back({i, symbol.section, symbol.value + static_cast<uint32_t>(insn.imm)});
	}

	void CheckCall(uint32_t i, const struct bpf_insn &insn)
	{
		if (insn.src_reg == 0)
			return CheckHelper(i, insn.imm);
		if (insn.src_reg == BPF_PSEUDO_KFUNC_CALL)
			return AddKernelCall(i, 0, "kfunc " + std::to_string(insn.imm));
		if (insn.src_reg != BPF_PSEUDO_CALL)
			return;
		Symbol symbol;
		if (!Relocation(i, &symbol))
			return AddCall(i, int64_t(function_.first) + i + insn.imm + 1);
		if (symbol.section == SHN_UNDEF) // clang writes a kfunc as a call of an extern function
			return AddKernelCall(i, 0, file_.SymbolName(symbol));
		AddCall(i, InText(symbol) ? static_cast<int64_t>(symbol.value / 8) + insn.imm + 1 : -1);
	}

	void CheckHelper(uint32_t i, int32_t helper)
	{
		if (helper <= 0)
			return Add("insn-helper", i, helper);
		if (!HelperName(helper)) {
			out_->defects.AddRemark("helper-unknown", index_, i, helper);
			return;
		}
		if (!HelperIsGplOnly(helper) || seen_[static_cast<size_t>(helper)])
			return;
		seen_[static_cast<size_t>(helper)] = true;
		AddKernelCall(i, helper, HelperName(helper));
	}

	void AddCall(uint32_t i, int64_t text_instruction)
	{
		uint32_t callee = file_.FunctionAt(text_instruction);
		if (callee == ObjectFile::kNone)
			return Add("insn-call-target", i, text_instruction);
		result_.calls.push_back({i, callee});
	}

	void AddKernelCall(uint32_t i, int32_t helper, std::string name)
	{
		if (out_->kernel_calls.size() < kMostKernelCalls)
			out_->kernel_calls.push_back({index_, i, helper, std::move(name)});
	}

	bool InText(const Symbol &symbol) const
	{
		return symbol.section != 0 && symbol.section == file_.text();
	}

	bool Relocation(uint32_t i, Symbol *out) const
	{
		uint32_t instruction = function_.first + i;
		auto found =
		        std::lower_bound(relocations_.begin(), relocations_.end(), instruction,
		                         [](const auto &entry, uint32_t at) { return entry.first < at; });
		return found != relocations_.end() && found->first == instruction &&
		       file_.ReadSymbol(found->second, out);
	}

	const ObjectFile &file_;
	const Function &function_;
	uint32_t index_;
	const std::vector<std::pair<uint32_t, uint32_t>> &relocations_;
	Decoded *out_;
	DecodedFunction &result_;
	std::vector<bool> second_; // the second slot of an LD_IMM64
	std::bitset<1024> seen_;
};

} // namespace

void Defects::Add(const char *rule, uint32_t function, uint32_t instruction, int64_t value)
{
	if (rule != rule_ || function != function_) {
		rule_ = rule;
		function_ = function;
		run_ = 0;
	}
	if (run_++ < kMostInFunction && list.size() < kMostDefects)
		list.push_back({rule, function, instruction, value});
	else
		left_out++;
}

void Defects::AddRemark(const char *rule, uint32_t function, uint32_t instruction, int64_t value)
{
	if (remarks_++ < kMostRemarks)
		list.push_back({rule, function, instruction, value});
}

struct bpf_insn InstructionAt(const ObjectFile &file, const Function &function, uint32_t index)
{
	struct bpf_insn insn;
	memcpy(&insn, file.code[function.code].bytes.data + (size_t(function.first) + index) * sizeof insn,
	       sizeof insn);
	return insn;
}

bool IsWide(const struct bpf_insn &insn)
{
	return insn.code == (BPF_LD | BPF_IMM | BPF_DW);
}

bool IsJump(const struct bpf_insn &insn)
{
	uint8_t instruction_class = BPF_CLASS(insn.code), op = BPF_OP(insn.code);
	if (instruction_class != BPF_JMP && instruction_class != BPF_JMP32)
		return false;
	return (op != BPF_CALL && op != BPF_EXIT && op <= BPF_JSLE) || insn.code == kConditionalGoto;
}

int64_t JumpTarget(const struct bpf_insn &insn, uint32_t index)
{
	return int64_t(index) + 1 + (insn.code == (BPF_JMP32 | BPF_JA) ? insn.imm : insn.off);
}

void Decode(const ObjectFile &file, Decoded *out)
{
	out->functions.resize(file.functions.size());
	std::vector<std::pair<uint32_t, uint32_t>> relocations;
	uint32_t code = ObjectFile::kNone;
	for (uint32_t i = 0; i < file.functions.size(); i++) {
		// Functions are sorted by section.
		if (file.functions[i].code != code) {
			code = file.functions[i].code;
			relocations = RelocationsOf(file.code[code]);
		}
		FunctionDecoder(file, i, relocations, out).Run();
	}
}

} // namespace node_ebpf
