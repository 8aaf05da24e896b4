// SPDX-License-Identifier: Apache-2.0
#include "examine/instruction_form.h"

namespace node_ebpf
{

namespace
{

// Newer than the oldest linux/bpf.h that this is built with.
constexpr uint8_t kMemSx = 0x80;        // BPF_MEMSX, 6.6
constexpr uint8_t kJcond = 0xe0;        // BPF_JCOND: may_goto, 6.10
constexpr int32_t kLoadAcquire = 0x100; // BPF_LOAD_ACQ and BPF_STORE_REL, 6.14
constexpr int32_t kStoreRelease = 0x110;
constexpr uint8_t kLastRegister = 10; // the frame pointer

constexpr const char *kOpcode = "insn-opcode";
constexpr const char *kReserved = "insn-reserved";
constexpr const char *kRegister = "insn-register";
constexpr const char *kFramePointer = "insn-frame-pointer";
constexpr const char *kOperand = "insn-operand";

void CheckRegister(uint8_t number, FormFaults *out)
{
	if (number > kLastRegister)
		out->Add(kRegister, number);
}

void CheckWritten(uint8_t number, FormFaults *out)
{
	CheckRegister(number, out);
	if (number == kLastRegister)
		out->Add(kFramePointer, number);
}

// check_alu_op()
void CheckAlu(const struct bpf_insn &insn, FormFaults *out)
{
	bool wide = BPF_CLASS(insn.code) == BPF_ALU64, by_register = BPF_SRC(insn.code) == BPF_X;
	uint8_t op = BPF_OP(insn.code);
	int width = wide ? 64 : 32;
	CheckWritten(insn.dst_reg, out);
	if (op > BPF_END) {
		out->Add(kOpcode, insn.code);
	} else if (op == BPF_END) {
		// ALU64 with BPF_TO_BE has no meaning; with BPF_TO_LE it is bswap (6.6).
		if (wide && by_register)
			out->Add(kOpcode, insn.code);
		else if (insn.src_reg || insn.off)
			out->Add(kReserved, insn.code);
		if (insn.imm != 16 && insn.imm != 32 && insn.imm != 64)
			out->Add(kOperand, insn.imm);
	} else if (op == BPF_NEG) {
		if (by_register || insn.src_reg || insn.off || insn.imm)
			out->Add(kReserved, insn.code);
	} else if (op == BPF_MOV && by_register) {
		CheckRegister(insn.src_reg, out);
		bool extends = insn.off == 0 || insn.off == 8 || insn.off == 16 || (wide && insn.off == 32);
		bool casts = wide && insn.off == 1 && (insn.imm == 1 || insn.imm == 1 << 16);
		if (!casts && (!extends || insn.imm))
			out->Add(kReserved, insn.code);
	} else {
		// An offset of 1 makes division and remainder signed (6.6).
		bool divides = op == BPF_DIV || op == BPF_MOD;
		bool shifts = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
		if (by_register)
			CheckRegister(insn.src_reg, out);
		if ((by_register ? insn.imm != 0 : insn.src_reg != 0) ||
		    (insn.off != 0 && !(divides && insn.off == 1)))
			out->Add(kReserved, insn.code);
		if (!by_register &&
		    ((divides && insn.imm == 0) || (shifts && (insn.imm < 0 || insn.imm >= width))))
			out->Add(kOperand, insn.imm);
	}
}

void CheckLoad(const struct bpf_insn &insn, FormFaults *out)
{
	uint8_t mode = BPF_MODE(insn.code), size = BPF_SIZE(insn.code);
	if (mode == BPF_IMM && size == BPF_DW) {
		CheckWritten(insn.dst_reg, out);
		if (insn.off)
			out->Add(kReserved, insn.code);
		if (insn.src_reg > BPF_PSEUDO_MAP_IDX_VALUE)
			out->Add("insn-ld-imm64", insn.src_reg);
	} else if ((mode == BPF_ABS || mode == BPF_IND) && size != BPF_DW) {
		// check_ld_abs()
		if (insn.dst_reg || insn.off || (mode == BPF_ABS && insn.src_reg))
			out->Add(kReserved, insn.code);
		CheckRegister(insn.src_reg, out);
	} else {
		out->Add(kOpcode, insn.code);
	}
}

void CheckLoadMemory(const struct bpf_insn &insn, FormFaults *out)
{
	uint8_t mode = BPF_MODE(insn.code);
	CheckWritten(insn.dst_reg, out);
	CheckRegister(insn.src_reg, out);
	if (mode != BPF_MEM && !(mode == kMemSx && BPF_SIZE(insn.code) != BPF_DW))
		out->Add(kOpcode, insn.code);
	else if (insn.imm)
		out->Add(kReserved, insn.code);
}

// check_atomic()
void CheckAtomic(const struct bpf_insn &insn, FormFaults *out)
{
	bool word = BPF_SIZE(insn.code) == BPF_W || BPF_SIZE(insn.code) == BPF_DW;
	switch (insn.imm) {
	case BPF_ADD:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
	case BPF_CMPXCHG: // what was there goes to r0
		CheckRegister(insn.src_reg, out);
		break;
	case BPF_ADD | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_OR | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
	case BPF_XCHG:
		CheckWritten(insn.src_reg, out);
		break;
	case kLoadAcquire:
		CheckWritten(insn.dst_reg, out);
		CheckRegister(insn.src_reg, out);
		return;
	case kStoreRelease:
		CheckRegister(insn.src_reg, out);
		CheckRegister(insn.dst_reg, out);
		return;
	default:
		out->Add(kOperand, insn.imm);
		return;
	}
	CheckRegister(insn.dst_reg, out);
	if (!word)
		out->Add(kOpcode, insn.code);
}

void CheckStore(const struct bpf_insn &insn, FormFaults *out)
{
	bool from_register = BPF_CLASS(insn.code) == BPF_STX;
	if (from_register && BPF_MODE(insn.code) == BPF_ATOMIC)
		return CheckAtomic(insn, out);
	CheckRegister(insn.dst_reg, out);
	if (from_register)
		CheckRegister(insn.src_reg, out);
	if (BPF_MODE(insn.code) != BPF_MEM)
		out->Add(kOpcode, insn.code);
	else if (from_register ? insn.imm != 0 : insn.src_reg != 0)
		out->Add(kReserved, insn.code);
}

void CheckJump(const struct bpf_insn &insn, FormFaults *out)
{
	bool wide = BPF_CLASS(insn.code) == BPF_JMP, by_register = BPF_SRC(insn.code) == BPF_X;
	uint8_t op = BPF_OP(insn.code);
	if (op == BPF_CALL || op == BPF_EXIT || op == kJcond) {
		if (!wide || by_register)
			out->Add(kOpcode, insn.code);
		else if (op == BPF_CALL) {
			// A kfunc of a module has an offset: the index of its BTF.
			if (insn.dst_reg || insn.src_reg > BPF_PSEUDO_KFUNC_CALL ||
			    (insn.off && insn.src_reg != BPF_PSEUDO_KFUNC_CALL))
				out->Add(kReserved, insn.code);
		} else if (insn.dst_reg || insn.src_reg || insn.imm) {
			out->Add(kReserved, insn.code);
		}
	} else if (op == BPF_JA) {
		// JMP32|JA is gotol (6.6): its distance is in imm.
		if (by_register)
			out->Add(kOpcode, insn.code);
		else if (insn.dst_reg || insn.src_reg || (wide ? insn.imm != 0 : insn.off != 0))
			out->Add(kReserved, insn.code);
	} else if (op > BPF_JSLE) {
		out->Add(kOpcode, insn.code);
	} else {
		CheckRegister(insn.dst_reg, out);
		if (by_register)
			CheckRegister(insn.src_reg, out);
		if (by_register ? insn.imm != 0 : insn.src_reg != 0)
			out->Add(kReserved, insn.code);
	}
}

} // namespace

void CheckForm(const struct bpf_insn &insn, FormFaults *out)
{
	switch (BPF_CLASS(insn.code)) {
	case BPF_ALU:
	case BPF_ALU64:
		return CheckAlu(insn, out);
	case BPF_LD:
		return CheckLoad(insn, out);
	case BPF_LDX:
		return CheckLoadMemory(insn, out);
	case BPF_ST:
	case BPF_STX:
		return CheckStore(insn, out);
	default:
		return CheckJump(insn, out);
	}
}

} // namespace node_ebpf
