// SPDX-License-Identifier: Apache-2.0
#include "examine/flow.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace node_ebpf
{

namespace
{

constexpr int kRegisters = 11;

struct Value {
	enum Kind : uint8_t {
		kUnknown,
		kConstant,
		kReadOnly, // an address in .rodata: section in the upper half, offset in the lower
		kLoadTime, // known when the object is loaded, or the address of such a value
	};
	Kind kind = kUnknown;
	uint64_t number = 0;
	bool operator!=(const Value &other) const { return kind != other.kind || number != other.number; }
};

using State = std::array<Value, kRegisters>;

// Takes to `into` what both have in common; true where it lost something.
bool Merge(State *into, const State &from)
{
	bool changed = false;
	for (int i = 0; i < kRegisters; i++) {
		Value &value = (*into)[i];
		if (value.kind == Value::kUnknown || !(value != from[i]))
			continue;
		value = Value();
		changed = true;
	}
	return changed;
}

bool Compare(uint8_t op, uint64_t a, uint64_t b, bool wide)
{
	auto signed_a = wide ? static_cast<int64_t>(a) : static_cast<int32_t>(a);
	auto signed_b = wide ? static_cast<int64_t>(b) : static_cast<int32_t>(b);
	if (!wide) {
		a = static_cast<uint32_t>(a);
		b = static_cast<uint32_t>(b);
	}
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JSET:
		return (a & b) != 0;
	case BPF_JSGT:
		return signed_a > signed_b;
	case BPF_JSGE:
		return signed_a >= signed_b;
	case BPF_JSLT:
		return signed_a < signed_b;
	default:
		return signed_a <= signed_b;
	}
}

// False for what is not computed here.
bool Compute(uint8_t op, bool wide, uint64_t a, uint64_t b, uint64_t *out)
{
	unsigned shift = b & (wide ? 63 : 31);
	switch (op) {
	case BPF_ADD:
		*out = a + b;
		break;
	case BPF_SUB:
		*out = a - b;
		break;
	case BPF_AND:
		*out = a & b;
		break;
	case BPF_OR:
		*out = a | b;
		break;
	case BPF_XOR:
		*out = a ^ b;
		break;
	case BPF_MUL:
		*out = a * b;
		break;
	case BPF_LSH:
		*out = a << shift;
		break;
	case BPF_RSH:
		*out = (wide ? a : static_cast<uint32_t>(a)) >> shift;
		break;
	case BPF_ARSH:
		*out = static_cast<uint64_t>(wide ? static_cast<int64_t>(a) >> shift
		                                  : static_cast<int32_t>(a) >> shift);
		break;
	default:
		return false;
	}
	if (!wide)
		*out = static_cast<uint32_t>(*out);
	return true;
}

class Flow
{
public:
	Flow(const ObjectFile &file, const DecodedFunction &decoded, const Instructions &code, bool certain,
	     std::vector<bool> *reached)
	    : file_(file), decoded_(decoded), code_(code), certain_(certain), reached_(*reached)
	{
	}

	// A function with more jump targets than this is followed whatever the constants say: each keeps a
	// state.
	static constexpr size_t kMostTargets = 65536;
	// And so is one that takes more steps than this: constants that meet in every block.
	static constexpr size_t kMostSteps = 1 << 22;

	void Run()
	{
		std::vector<uint32_t> targets;
		for (uint32_t i = 0; i < code_.size(); i++) {
			if (IsJump(code_[i])) {
				targets.push_back(static_cast<uint32_t>(JumpTarget(code_[i], i)));
				targets.push_back(i + 1); // a block ends with its jump
			}
		}
		std::sort(targets.begin(), targets.end());
		targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
		if (targets.size() > kMostTargets) {
			reached_.assign(code_.size(), true);
			return;
		}
		targets_ = std::move(targets);
		states_.resize(targets_.size());
		known_.resize(targets_.size());
		Walk(0, State());
		while (!work_.empty()) {
			size_t target = work_.back();
			work_.pop_back();
			Walk(targets_[target], State(states_[target]));
			if (steps_ > kMostSteps) {
				reached_.assign(code_.size(), true);
				return;
			}
		}
	}

private:
	void Enter(uint32_t at, const State &state)
	{
		auto target = static_cast<size_t>(std::lower_bound(targets_.begin(), targets_.end(), at) -
		                                  targets_.begin());
		if (target == targets_.size() || targets_[target] != at || at >= code_.size())
			return;
		if (!known_[target]) {
			known_[target] = true;
			states_[target] = state;
		} else if (!Merge(&states_[target], state)) {
			return;
		}
		work_.push_back(target);
	}

	// To the end of the block, where it enters what follows.
	void Walk(uint32_t at, State state)
	{
		for (uint32_t i = at; i < code_.size(); i++) {
			// A block may run into a target; entering it there keeps every instruction's visits
			// few.
			if (i != at && std::binary_search(targets_.begin(), targets_.end(), i))
				return Enter(i, state);
			const struct bpf_insn &insn = code_[i];
			reached_[i] = true;
			steps_++;
			if (insn.code == (BPF_JMP | BPF_EXIT))
				return;
			if (IsJump(insn))
				return Branch(insn, i, state);
			Apply(insn, i, &state);
			if (IsWide(insn))
				i++;
		}
	}

	void Branch(const struct bpf_insn &insn, uint32_t i, const State &state)
	{
		auto target = static_cast<uint32_t>(JumpTarget(insn, i));
		bool wide = BPF_CLASS(insn.code) == BPF_JMP;
		if (BPF_OP(insn.code) == BPF_JA)
			return Enter(target, state);
		if (BPF_OP(insn.code) <= BPF_JSLE) {
			const Value &a = state[insn.dst_reg];
			Value b = BPF_SRC(insn.code) == BPF_X
			                  ? state[insn.src_reg]
			                  : Value{Value::kConstant, static_cast<uint64_t>(int64_t(insn.imm))};
			if (certain_ && (a.kind == Value::kLoadTime || b.kind == Value::kLoadTime))
				return;
			if (a.kind == Value::kConstant && b.kind == Value::kConstant)
				return Enter(Compare(BPF_OP(insn.code), a.number, b.number, wide) ? target
				                                                                  : i + 1,
				             state);
		}
		Enter(target, state);
		Enter(i + 1, state);
	}

	void Apply(const struct bpf_insn &insn, uint32_t i, State *state)
	{
		Value &to = (*state)[insn.dst_reg];
		switch (BPF_CLASS(insn.code)) {
		case BPF_ALU:
		case BPF_ALU64:
			to = Arithmetic(insn, *state);
			break;
		case BPF_LD:
			if (IsWide(insn))
				to = Wide(insn, i);
			else
				Clobber(state);
			break;
		case BPF_LDX:
			to = Load(insn, (*state)[insn.src_reg]);
			break;
		case BPF_STX:
			if (BPF_MODE(insn.code) == BPF_ATOMIC) {
				to = (*state)[insn.src_reg] = (*state)[0] = Value();
			}
			break;
		case BPF_JMP: // a call
			Clobber(state);
			break;
		}
	}

	static void Clobber(State *state) { std::fill(state->begin(), state->begin() + 6, Value()); }

	static Value Arithmetic(const struct bpf_insn &insn, const State &state)
	{
		bool wide = BPF_CLASS(insn.code) == BPF_ALU64;
		uint8_t op = BPF_OP(insn.code);
		if (op >= BPF_END || op == BPF_NEG)
			return op == BPF_NEG && state[insn.dst_reg].kind == Value::kLoadTime
			               ? state[insn.dst_reg]
			               : Value();
		const Value &a = state[insn.dst_reg];
		Value b = BPF_SRC(insn.code) == BPF_X
		                  ? state[insn.src_reg]
		                  : Value{Value::kConstant, static_cast<uint64_t>(int64_t(insn.imm))};
		if (op == BPF_MOV) {
			if (insn.off) // sign extension, or a cast between address spaces
				return b.kind == Value::kLoadTime ? b : Value();
			if (!wide && b.kind == Value::kConstant)
				b.number = static_cast<uint32_t>(b.number);
			return wide || b.kind != Value::kReadOnly ? b : Value();
		}
		if (a.kind == Value::kLoadTime || b.kind == Value::kLoadTime)
			return {Value::kLoadTime, 0};
		uint64_t number;
		if (b.kind != Value::kConstant || insn.off || !Compute(op, wide, a.number, b.number, &number))
			return Value();
		if (a.kind == Value::kConstant)
			return {Value::kConstant, number};
		if (a.kind == Value::kReadOnly && wide && op == BPF_ADD && b.number <= INT32_MAX &&
		    (a.number & UINT32_MAX) + b.number <= UINT32_MAX)
			return {Value::kReadOnly, number};
		return Value();
	}

	Value Wide(const struct bpf_insn &insn, uint32_t i) const
	{
		auto found = std::lower_bound(
		        decoded_.data.begin(), decoded_.data.end(), i,
		        [](const DataReference &entry, uint32_t at) { return entry.instruction < at; });
		if (found == decoded_.data.end() || found->instruction != i) {
			if (insn.src_reg)
				return Value();
			return {Value::kConstant, static_cast<uint32_t>(insn.imm) |
			                                  uint64_t(static_cast<uint32_t>(code_[i + 1].imm))
			                                          << 32};
		}
		if (found->section == 0)
			return {Value::kLoadTime, 0};
		if (!file_.Constants(found->section).data || found->offset > UINT32_MAX)
			return Value();
		return {Value::kReadOnly, uint64_t(found->section) << 32 | found->offset};
	}

	Value Load(const struct bpf_insn &insn, const Value &from) const
	{
		if (from.kind == Value::kLoadTime)
			return from;
		if (from.kind != Value::kReadOnly || BPF_MODE(insn.code) != BPF_MEM)
			return Value();
		View bytes = file_.Constants(static_cast<uint32_t>(from.number >> 32));
		int64_t at = static_cast<int64_t>(from.number & UINT32_MAX) + insn.off;
		uint8_t size = BPF_SIZE(insn.code);
		size_t width = size == BPF_DW ? 8 : size == BPF_W ? 4 : size == BPF_H ? 2 : 1;
		if (at < 0 || static_cast<uint64_t>(at) > bytes.size ||
		    width > bytes.size - static_cast<size_t>(at))
			return Value();
		uint64_t wide = 0;
		uint32_t word;
		uint16_t half;
		switch (width) {
		case 8:
			memcpy(&wide, bytes.data + at, 8);
			break;
		case 4:
			memcpy(&word, bytes.data + at, 4);
			wide = word;
			break;
		case 2:
			memcpy(&half, bytes.data + at, 2);
			wide = half;
			break;
		default:
			wide = bytes.data[at];
		}
		return {Value::kConstant, wide};
	}

	const ObjectFile &file_;
	const DecodedFunction &decoded_;
	const Instructions &code_;
	bool certain_; // stop where a value of load time decides
	std::vector<bool> &reached_;
	std::vector<uint32_t> targets_;
	std::vector<State> states_;
	std::vector<bool> known_;
	std::vector<size_t> work_;
	size_t steps_ = 0;
};

// Marks what is reached, from the programs on through the functions that they can come to call.
void Follow(const ObjectFile &file, const Decoded &decoded, const std::vector<Instructions> &code,
            bool certain, Reach mark, std::vector<std::vector<Reach>> *out)
{
	std::vector<uint32_t> work;
	std::vector<bool> seen(file.functions.size());
	for (uint32_t i = 0; i < file.functions.size(); i++) {
		if (!file.functions[i].subprogram) {
			work.push_back(i);
			seen[i] = true;
		}
	}
	while (!work.empty()) {
		uint32_t function = work.back();
		work.pop_back();
		if (code[function].empty())
			continue;
		std::vector<bool> reached(code[function].size());
		Flow(file, decoded.functions[function], code[function], certain, &reached).Run();
		for (uint32_t i = 0; i < reached.size(); i++) {
			if (reached[i])
				(*out)[function][i] = mark;
		}
		for (const Call &call : decoded.functions[function].calls) {
			if (reached[call.instruction] && !seen[call.function]) {
				seen[call.function] = true;
				work.push_back(call.function);
			}
		}
	}
}

} // namespace

std::vector<std::vector<Reach>> FollowFlow(const ObjectFile &file, const Decoded &decoded,
                                           const std::vector<Instructions> &code)
{
	std::vector<std::vector<Reach>> result(code.size());
	for (size_t i = 0; i < code.size(); i++)
		result[i].resize(code[i].size(), Reach::kNever);
	Follow(file, decoded, code, false, Reach::kPerhaps, &result);
	Follow(file, decoded, code, true, Reach::kYes, &result);
	return result;
}

} // namespace node_ebpf
