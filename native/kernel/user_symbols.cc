// SPDX-License-Identifier: Apache-2.0
// What a program or shared library offers to be probed: its functions, and the probes that its author put in.
#include "kernel/user_symbols.h"

#include "base/arguments.h"
#include "base/errors.h"
#include "base/unique_fd.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <gelf.h>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace node_ebpf
{

namespace
{

struct ElfCloser {
	void operator()(Elf *elf) const { elf_end(elf); }
};

// The descriptor stays open as long as the file is read.
struct UserFile {
	UniqueFd fd;
	std::unique_ptr<Elf, ElfCloser> elf;
};

std::optional<Failure> Refused()
{
	Failure failure;
	failure.code = "ERR_EBPF_NOT_ELF";
	failure.operation = "elf_begin";
	failure.message = elf_errmsg(-1);
	return failure;
}

// O_NONBLOCK: a FIFO of that name would block the JS thread.
std::optional<Failure> Open(const std::string &path, UserFile *out)
{
	elf_version(EV_CURRENT);
	out->fd = UniqueFd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	if (!out->fd.valid())
		return Failure::FromErrno(errno, "open");
	out->elf.reset(elf_begin(out->fd.get(), ELF_C_READ, nullptr));
	return out->elf ? std::nullopt : Refused();
}

using OnFunction = std::function<void(const char *name, const GElf_Sym &symbol)>;

// The functions of every symbol table of one kind. A table that the reader refuses holds none.
void EachFunction(Elf *elf, uint32_t section_type, const OnFunction &found)
{
	Elf_Scn *section = nullptr;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		if (!gelf_getshdr(section, &header) || header.sh_type != section_type)
			continue;
		Elf_Data *data = elf_getdata(section, nullptr);
		GElf_Sym symbol;
		for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
			const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
			if (name && *name && GELF_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value &&
			    symbol.st_shndx != SHN_UNDEF)
				found(name, symbol);
		}
	}
}

// Where a symbol of a program or library is in its file: the kernel counts from there.
std::optional<uint64_t> FileOffset(Elf *elf, const GElf_Sym &symbol)
{
	GElf_Shdr header;
	Elf_Scn *section = symbol.st_shndx < SHN_LORESERVE ? elf_getscn(elf, symbol.st_shndx) : nullptr;
	if (!section || !gelf_getshdr(section, &header))
		return std::nullopt;
	return symbol.st_value - header.sh_addr + header.sh_offset;
}

// In full symbol tables the linker writes name@VERSION.
bool Matches(const char *name, const std::string &wanted)
{
	size_t length = strcspn(name, "@");
	return wanted == name || (length == wanted.size() && wanted.compare(0, length, name, length) == 0);
}

// userSymbol(path, name): the different places of the function, none where the file has no such function. A
// stripped file has its dynamic symbols alone, and a static one none of those. A weak symbol yields to
// another.
Napi::Value UserSymbol(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	std::string path, wanted;
	if (!ReadString(env, info[0], "path", &path) || !ReadString(env, info[1], "name", &wanted))
		return env.Undefined();
	UserFile file;
	if (auto failure = Open(path, &file))
		return failure->Throw(env);
	std::set<uint64_t> strong, weak;
	for (uint32_t type : {SHT_DYNSYM, SHT_SYMTAB}) {
		EachFunction(file.elf.get(), type, [&](const char *name, const GElf_Sym &symbol) {
			if (!Matches(name, wanted))
				return;
			if (auto offset = FileOffset(file.elf.get(), symbol))
				(GELF_ST_BIND(symbol.st_info) == STB_WEAK ? weak : strong).insert(*offset);
		});
		if (!strong.empty() || !weak.empty())
			break;
	}
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (uint64_t offset : strong.empty() ? weak : strong)
		result.Set(count++, static_cast<double>(offset));
	return result;
}

Napi::Value ToArray(Napi::Env env, const std::set<std::string> &names)
{
	Napi::Array result = Napi::Array::New(env);
	uint32_t count = 0;
	for (const std::string &name : names)
		result.Set(count++, name);
	return result;
}

Napi::Value UserSymbols(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	std::string path;
	if (!ReadString(env, info[0], "path", &path))
		return env.Undefined();
	UserFile file;
	if (auto failure = Open(path, &file))
		return failure->Throw(env);
	std::set<std::string> names;
	for (uint32_t type : {SHT_DYNSYM, SHT_SYMTAB})
		EachFunction(file.elf.get(), type, [&](const char *name, const GElf_Sym &) {
			names.insert(std::string(name, strcspn(name, "@")));
		});
	return ToArray(env, names);
}

// Of a note of sys/sdt.h: three addresses, then the strings provider, name and arguments.
std::optional<std::string> ProbeName(const char *bytes, size_t size)
{
	constexpr size_t addresses = 3 * 8;
	const char *end = bytes + size;
	if (size <= addresses)
		return std::nullopt;
	const char *provider = bytes + addresses;
	const char *name = std::find(provider, end, '\0');
	if (name == end)
		return std::nullopt;
	const char *name_end = std::find(++name, end, '\0');
	if (name_end == end)
		return std::nullopt;
	return std::string(provider) + ":" + name;
}

// userProbes(path): what .note.stapsdt lists.
Napi::Value UserProbes(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	std::string path;
	if (!ReadString(env, info[0], "path", &path))
		return env.Undefined();
	UserFile file;
	if (auto failure = Open(path, &file))
		return failure->Throw(env);
	std::set<std::string> names;
	Elf_Scn *section = nullptr;
	while ((section = elf_nextscn(file.elf.get(), section))) {
		GElf_Shdr header;
		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_NOTE)
			continue;
		Elf_Data *data = elf_getdata(section, nullptr);
		GElf_Nhdr note;
		size_t name_at, description_at, next;
		for (size_t at = 0;
		     data && (next = gelf_getnote(data, at, &note, &name_at, &description_at)) > 0;
		     at = next) {
			const char *bytes = static_cast<const char *>(data->d_buf);
			// NT_STAPSDT
			if (note.n_type != 3 || note.n_namesz != sizeof "stapsdt" ||
			    memcmp(bytes + name_at, "stapsdt", sizeof "stapsdt") != 0)
				continue;
			if (auto probe = ProbeName(bytes + description_at, note.n_descsz))
				names.insert(*probe);
		}
	}
	return ToArray(env, names);
}

} // namespace

void DefineUserSymbolFunctions(Napi::Env env, Napi::Object exports)
{
	exports.Set("userSymbol", Napi::Function::New(env, UserSymbol, "userSymbol"));
	exports.Set("userSymbols", Napi::Function::New(env, UserSymbols, "userSymbols"));
	exports.Set("userProbes", Napi::Function::New(env, UserProbes, "userProbes"));
}

} // namespace node_ebpf
