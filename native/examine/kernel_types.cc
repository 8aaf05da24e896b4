// SPDX-License-Identifier: Apache-2.0
#include "examine/kernel_types.h"

#include <bpf/btf.h>
#include <cstring>
#include <dirent.h>

namespace node_ebpf
{

namespace
{

constexpr const char *kRunningKernel = "/sys/kernel/btf/vmlinux";
constexpr const char *kRunningFolder = "/sys/kernel/btf";
// libbpf compares every candidate with every other; a kernel has a few of one name.
constexpr size_t kMostCandidates = 256;
constexpr size_t kLongestName = 512;

// bpf_core_essential_name_len(), which walks an int backwards, in one pass over a name of any length.
std::string_view EssentialName(const char *name)
{
	std::string_view text(name);
	for (size_t at = text.size() < 5 ? 0 : text.size() - 5; at > 0; at--) {
		// a character, three underscores, a character
		if (text[at] != '_' && text[at + 4] != '_' && text.compare(at + 1, 3, "___") == 0)
			return text.substr(0, at + 1);
	}
	return text;
}

// btf_kind_core_compat(): enum and enum64 are one.
bool SameKind(const struct btf_type *a, const struct btf_type *b)
{
	return btf_kind(a) == btf_kind(b) || (btf_is_any_enum(a) && btf_is_any_enum(b));
}

} // namespace

int KernelTypes::Open(const std::string &path, std::string *words)
{
	int error = 0;
	kernel_ = ParseBtfFile(path, nullptr, &error);
	if (!kernel_)
		return error;
	if (auto endless = EndlessType(kernel_.get())) {
		*words = *endless;
		return -EINVAL;
	}
	running_ = path == kRunningKernel;
	Add(kernel_.get(), 1, &types_);
	return 0;
}

void KernelTypes::Add(const struct btf *btf, uint32_t first, Index *index)
{
	uint32_t count = btf__type_cnt(btf);
	for (uint32_t id = first; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *name = btf__name_by_offset(btf, type->name_off);
		if (name && *name && strnlen(name, kLongestName + 1) <= kLongestName)
			(*index)[EssentialName(name)].push_back({btf, id});
	}
}

void KernelTypes::OpenModules()
{
	modules_opened_ = true;
	DIR *folder = opendir(kRunningFolder);
	if (!folder)
		return;
	while (const struct dirent *entry = readdir(folder)) {
		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "vmlinux"))
			continue;
		int error = 0;
		BtfPointer module = ParseBtfFile(std::string(kRunningFolder) + "/" + entry->d_name,
		                                 kernel_.get(), &error);
		if (!module)
			continue;
		Add(module.get(), btf__type_cnt(kernel_.get()), &module_types_);
		modules_.push_back(std::move(module));
	}
	closedir(folder);
}

void KernelTypes::Find(const Index &index, const struct btf_type *type, std::string_view name,
                       std::vector<struct bpf_core_cand> *out)
{
	auto found = index.find(name);
	if (found == index.end())
		return;
	for (const struct bpf_core_cand &candidate : found->second) {
		if (out->size() < kMostCandidates &&
		    SameKind(type, btf__type_by_id(candidate.btf, candidate.id)))
			out->push_back(candidate);
	}
}

std::vector<struct bpf_core_cand> KernelTypes::Candidates(const struct btf *local, uint32_t id)
{
	std::vector<struct bpf_core_cand> result;
	const struct btf_type *type = btf__type_by_id(local, id);
	const char *name = type ? btf__name_by_offset(local, type->name_off) : nullptr;
	if (!name || !*name || strnlen(name, kLongestName + 1) > kLongestName)
		return result;
	Find(types_, type, EssentialName(name), &result);
	if (result.empty() && running_) {
		if (!modules_opened_)
			OpenModules();
		Find(module_types_, type, EssentialName(name), &result);
	}
	return result;
}

} // namespace node_ebpf
