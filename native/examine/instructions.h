// SPDX-License-Identifier: Apache-2.0
// The linear decode: each instruction of a function by itself, and where its jumps and calls lead. What the
// verifier (kernel/bpf/verifier.c, 6.18) refuses without walking the program.
#pragma once
#include "examine/object_file.h"

#include <linux/bpf.h>

namespace node_ebpf
{

// A rule that one instruction breaks; `value` is what of it is wrong: an opcode, a register, a target.
struct Defect {
	const char *rule;
	uint32_t function; // index into ObjectFile::functions
	uint32_t instruction;
	int64_t value;
};

// What a file may make us remember: the first defects of each rule and function, and so many in all.
class Defects
{
public:
	void Add(const char *rule, uint32_t function, uint32_t instruction, int64_t value);

	// What a newer kernel may take: the first hundred, and none is counted as left out.
	void AddRemark(const char *rule, uint32_t function, uint32_t instruction, int64_t value);

	std::vector<Defect> list;
	uint64_t left_out = 0;

private:
	const char *rule_ = nullptr;
	uint32_t function_ = 0;
	size_t run_ = 0;
	size_t remarks_ = 0;
};

// A call of, or a reference to, a function of the same object.
struct Call {
	uint32_t instruction;
	uint32_t function;
};

struct KernelCall {
	uint32_t function;
	uint32_t instruction;
	int32_t helper;   // 0: a kfunc
	std::string name; // the kfunc's
};

// The data that an LD_IMM64 takes the address of.
struct DataReference {
	uint32_t instruction;
	uint16_t section; // 0: an extern, which libbpf resolves at load
	uint64_t offset;
};

struct DecodedFunction {
	bool sound = true; // no defect: every LD_IMM64 whole, every jump inside
	std::vector<Call> calls;
	std::vector<DataReference> data;
};

// The instruction at `index` of the function, which must be within it.
struct bpf_insn InstructionAt(const ObjectFile &file, const Function &function, uint32_t index);

// Where a jump at `index` leads, by the instruction's form; `insn` must be a jump.
int64_t JumpTarget(const struct bpf_insn &insn, uint32_t index);
bool IsJump(const struct bpf_insn &insn);
bool IsWide(const struct bpf_insn &insn); // LD_IMM64: two slots

struct Decoded {
	std::vector<DecodedFunction> functions; // as ObjectFile::functions
	std::vector<KernelCall> kernel_calls; // of GPL-only helpers and of kfuncs, the first of each function
	Defects defects;
};

void Decode(const ObjectFile &file, Decoded *out);

} // namespace node_ebpf
