// SPDX-License-Identifier: Apache-2.0
// Which instructions a program can come to, as far as constants decide: `if (bpf_core_field_exists(…))` is a
// constant after relocation, and so is what a .rodata variable holds. The verifier leaves out what cannot be
// reached the same way.
#pragma once
#include "examine/instructions.h"

namespace node_ebpf
{

enum class Reach : uint8_t {
	kNever,
	// Only behind a branch on a value that is known when the object is loaded: .kconfig, or the address
	// of a kernel symbol that may be absent.
	kPerhaps,
	kYes,
};

using Instructions = std::vector<struct bpf_insn>;

// For each function, for each of its instructions. `code` has the functions' instructions after relocation;
// an empty one stands for a function that is not followed.
std::vector<std::vector<Reach>> FollowFlow(const ObjectFile &file, const Decoded &decoded,
                                           const std::vector<Instructions> &code);

} // namespace node_ebpf
