// SPDX-License-Identifier: Apache-2.0
// An object file's sections as native/elf reads them: code, functions, relocations, licence and BTF. It
// points into the bytes that it was opened on, and these must stay.
#pragma once
#include "base/view.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct Elf;

namespace node_ebpf
{

// A rule that the file as a whole breaks, with the reader's or libbpf's words.
struct Refusal {
	std::string rule;
	std::string message;
	std::vector<std::string> log;
};

// An executable section. `size` may be no multiple of an instruction's.
struct Code {
	uint32_t section;
	const char *name;
	View bytes;
	View relocations; // Elf64_Rel, in the file's order
};

// What a symbol table calls a function: a program, or what programs call.
struct Function {
	const char *name;
	uint32_t code;  // index into ObjectFile::code
	uint32_t first; // in instructions of its section
	uint32_t count;
	bool subprogram; // not entered by the kernel, called by programs: libbpf's prog_is_subprog()
};

struct Symbol {
	uint64_t value;
	uint32_t name;
	uint16_t section; // 0: defined elsewhere
	uint8_t type;
};

struct ElfCloser {
	void operator()(Elf *elf) const;
};

class ObjectFile
{
public:
	static constexpr uint32_t kNone = UINT32_MAX;

	// Fills `refusals` with every rule that the file as a whole breaks.
	void Open(std::vector<uint8_t> &bytes, std::vector<Refusal> *refusals);
	// For a file that libbpf does not open: the sections that the reader refuses, whatever they hold.
	void CheckSections(std::vector<Refusal> *refusals) const;
	// Its sections could be told apart, and there is no more in them than what a file of this size can
	// hold.
	bool readable() const { return readable_; }

	// False for a number that is in no symbol table.
	bool ReadSymbol(uint32_t index, Symbol *out) const;
	std::string SymbolName(const Symbol &symbol) const; // cut, for messages
	// The bytes of a .rodata section, which the kernel's verifier takes for constants; none for others.
	View Constants(uint32_t section) const;
	// The function that begins at this instruction of .text, where libbpf looks for what is called.
	uint32_t FunctionAt(int64_t text_instruction) const;
	uint32_t text() const { return text_ == kNone ? 0 : code[text_].section; } // 0: there is none

	std::string license;
	View btf, btf_ext;
	bool has_btf = false;
	std::vector<Code> code;
	std::vector<Function> functions; // by section and place, as libbpf sorts its programs

private:
	void CheckIdentity(const std::vector<uint8_t> &bytes, int rule, std::vector<Refusal> *refusals);
	bool CheckHeader(std::vector<Refusal> *refusals);
	void ReadSections(std::vector<Refusal> *refusals);
	void ReadRelocations(size_t names, std::vector<Refusal> *refusals);
	void ReadFunctions(std::vector<Refusal> *refusals);
	bool CheckCopies(size_t file_size, std::vector<Refusal> *refusals) const;

	std::unique_ptr<Elf, ElfCloser> elf_;
	bool readable_ = false;
	View symbols_;
	size_t symbol_names_ = 0;
	uint32_t text_ = kNone;                // index into code
	size_t text_begin_ = 0, text_end_ = 0; // its functions
	std::vector<std::pair<uint32_t, View>> constants_;
};

} // namespace node_ebpf
