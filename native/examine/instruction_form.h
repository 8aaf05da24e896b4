// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <linux/bpf.h>

namespace node_ebpf
{

// The rules that an instruction breaks by itself, each with what of it is wrong.
struct FormFault {
	const char *rule;
	int64_t value;
};

// At most one of each kind: the opcode, reserved fields, registers, the frame pointer, the operand.
struct FormFaults {
	FormFault list[5];
	int count = 0;
	void Add(const char *rule, int64_t value)
	{
		if (count < 5)
			list[count++] = {rule, value};
	}
};

// LD_IMM64 alone spans two slots; its second is checked where the function is at hand.
void CheckForm(const struct bpf_insn &insn, FormFaults *out);

} // namespace node_ebpf
