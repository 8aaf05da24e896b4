// SPDX-License-Identifier: Apache-2.0
// The integers in a map's value, by the names that BTF has for them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

struct btf;

namespace node_ebpf
{

struct Member {
	std::string name; // `packets`, `slots[3]`, `ipv4.bytes`; empty where the whole value is one integer
	uint32_t offset;
	uint8_t size;
	bool is_signed;
};

// At most some hundreds: a longer array ends there.
std::vector<Member> MembersOf(const struct btf *btf, uint32_t type_id);

} // namespace node_ebpf
