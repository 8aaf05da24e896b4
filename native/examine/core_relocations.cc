// SPDX-License-Identifier: Apache-2.0
#include "examine/core_relocations.h"

#include "examine/kernel_types.h"
#include "base/log.h"

#include <algorithm>
#include <bpf/btf.h>
#include <cstring>
#include <ctime>
#include <map>
#include <tuple>

namespace node_ebpf
{

namespace
{

constexpr size_t kMostDefects = 1000;
// libbpf compares every member of a type with every one of the kernel's, and those of members: what a file
// can make of that has no bound. Past this much of the thread's time, relocations are counted and not
// resolved.
constexpr double kMostSeconds = 1;
constexpr uint64_t kHeaviestMatch = 5000; // members of a type that bpf_core_type_matches() is asked about
constexpr size_t kLongestName = 512;
// Functions may overlap, and a thousand relocations be of one instruction.
constexpr size_t kMostVisits = 1 << 22;
constexpr size_t kLongestAccess = 1024; // 64 numbers is libbpf's most

// "0:1:12": numbers small enough that libbpf multiplies them with a size of 32 bits, and by 8, in 64.
bool IsAccessString(const char *text)
{
	if (!text || strnlen(text, kLongestAccess + 1) > kLongestAccess)
		return false;
	for (;;) {
		size_t digits = strspn(text, "0123456789");
		if (digits == 0 || digits > 8)
			return false;
		text += digits;
		if (!*text)
			return true;
		if (*text++ != ':')
			return false;
	}
}

// A number that an enum does not have may not be loaded as one.
uint32_t KindOf(const struct bpf_core_relo &relo)
{
	uint32_t kind;
	memcpy(&kind, reinterpret_cast<const char *>(&relo) + offsetof(struct bpf_core_relo, kind),
	       sizeof kind);
	return kind;
}

bool IsSound(const struct btf *local, const struct bpf_core_relo &relo)
{
	return IsAccessString(btf__str_by_offset(local, relo.access_str_off)) &&
	       relo.insn_off % sizeof(struct bpf_insn) == 0 && KindOf(relo) <= BPF_CORE_TYPE_MATCHES;
}

// Each function's relocations of its section.
template <typename Each> bool ForEachRelocation(const ObjectFile &file, const BtfExt &ext, Each each)
{
	size_t visits = 0;
	for (uint32_t i = 0; i < file.functions.size(); i++) {
		const Function &function = file.functions[i];
		const SectionRecords *records = ext.Of(file.code[function.code].name);
		if (!records)
			continue;
		auto record = std::lower_bound(
		        records->relocations.begin(), records->relocations.end(), function.first,
		        [](const CoreRecord &entry, uint32_t at) { return entry.instruction < at; });
		for (; record != records->relocations.end() &&
		       record->instruction - function.first < function.count;
		     record++) {
			if (visits++ == kMostVisits)
				return false;
			each(i, record->instruction - function.first, record->relo);
		}
	}
	return true;
}

std::string FieldWords(const struct btf *local, const struct bpf_core_relo &relo)
{
	struct bpf_core_spec spec;
	if (!btf__type_by_id(local, relo.type_id) || bpf_core_parse_spec("", local, &relo, &spec) != 0)
		return "";
	std::string words;
	bool enumerator = relo.kind == BPF_CORE_ENUMVAL_EXISTS || relo.kind == BPF_CORE_ENUMVAL_VALUE;
	// The first accessor is the index into an array of the type: 0 for all but pointer arithmetic.
	for (int i = enumerator ? 0 : 1; i < spec.len; i++) {
		const struct bpf_core_accessor &accessor = spec.spec[i];
		if (accessor.name)
			words += (words.empty() ? "" : ".") + Shown(accessor.name);
		else
			words += "[" + std::to_string(accessor.idx) + "]";
	}
	return words;
}

struct Resolution {
	int error = 0;
	bool type_missing = false;
	struct bpf_core_relo_res result = {};
	std::string words;
};

double ThreadSeconds()
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string LastWords(LogCapture *capture)
{
	std::vector<std::string> lines = capture->Take();
	return lines.empty() ? "" : lines.back();
}

class Resolver
{
public:
	Resolver(const ObjectFile &file, const Decoded &decoded, const struct btf *local, KernelTypes *kernel)
	    : file_(file), local_(local), kernel_(kernel), weights_(TypeWeights(local)),
	      code_(file.functions.size())
	{
		for (uint32_t i = 0; i < file.functions.size(); i++) {
			if (!decoded.functions[i].sound)
				continue;
			code_[i].reserve(file.functions[i].count);
			for (uint32_t at = 0; at < file.functions[i].count; at++)
				code_[i].push_back(InstructionAt(file, file.functions[i], at));
		}
	}

	void Relocate(uint32_t function, uint32_t at, const struct bpf_core_relo &relo)
	{
		// libbpf changes two slots of an LD_IMM64: only code whose LD_IMM64 are whole is relocated.
		if (code_[function].empty() || found_.size() >= kMostDefects)
			return;
		const Resolution *resolution = Resolve(relo);
		if (!resolution) {
			unresolved_++;
			return;
		}
		int error = resolution->error;
		std::string words = resolution->words;
		if (!error) {
			LogCapture capture;
			error = bpf_core_patch_insn(file_.functions[function].name, &code_[function][at],
			                            static_cast<int>(at), &relo, 0, &resolution->result);
			words = LastWords(&capture);
		}
		if (error)
			Add(words.find("ambiguity") != std::string::npos ? "core-ambiguous" : "core-invalid",
			    function, at, relo, words);
		else if (resolution->result.poison && resolution->type_missing)
			Add("core-type-missing", function, at, relo, "");
		else if (resolution->result.poison || IsPoisoned(code_[function][at]))
			Add("core-field-missing", function, at, relo, "");
	}

	std::vector<CoreDefect> Take() { return std::move(found_); }
	size_t unresolved() const { return unresolved_; }
	const std::vector<Instructions> &code() const { return code_; }

private:
	// A call of a helper that does not exist: bpf_core_poison_insn().
	static bool IsPoisoned(const struct bpf_insn &insn)
	{
		return insn.code == (BPF_JMP | BPF_CALL) && insn.imm == 195896080;
	}

	const Resolution *Resolve(const struct bpf_core_relo &relo)
	{
		auto key = std::make_tuple(relo.type_id, relo.access_str_off, KindOf(relo));
		auto known = resolutions_.find(key);
		if (known != resolutions_.end())
			return &known->second;
		if (ThreadSeconds() - start_ > kMostSeconds || IsHeavy(relo))
			return nullptr;
		Resolution &resolution = resolutions_[key];
		if (!btf__type_by_id(local_, relo.type_id)) {
			resolution.error = -EINVAL;
			resolution.words = "there is no type " + std::to_string(relo.type_id);
			return &resolution;
		}
		std::vector<struct bpf_core_cand> candidates = kernel_->Candidates(local_, relo.type_id);
		resolution.type_missing = candidates.empty();
		struct bpf_core_cand_list list = {candidates.data(), static_cast<int>(candidates.size())};
		struct bpf_core_spec scratch[3] = {};
		LogCapture capture;
		resolution.error =
		        bpf_core_calc_relo_insn("", &relo, 0, local_, &list, scratch, &resolution.result);
		resolution.words = LastWords(&capture);
		return &resolution;
	}

	// libbpf measures names again and again.
	bool IsHeavy(const struct bpf_core_relo &relo)
	{
		if (relo.kind == BPF_CORE_TYPE_MATCHES && relo.type_id < weights_.size() &&
		    weights_[relo.type_id] > kHeaviestMatch)
			return true;
		struct bpf_core_spec spec;
		if (!btf__type_by_id(local_, relo.type_id) ||
		    bpf_core_parse_spec("", local_, &relo, &spec) != 0)
			return false;
		for (int i = 0; i < spec.len; i++) {
			const char *name = spec.spec[i].name;
			if (name && strnlen(name, kLongestName + 1) > kLongestName)
				return true;
		}
		return false;
	}

	void Add(const char *rule, uint32_t function, uint32_t at, const struct bpf_core_relo &relo,
	         std::string words)
	{
		found_.push_back({rule, function, at, TypeWords(local_, relo.type_id),
		                  FieldWords(local_, relo), std::move(words), Reach::kYes});
	}

	const ObjectFile &file_;
	const struct btf *local_;
	KernelTypes *kernel_;
	std::vector<uint64_t> weights_;
	double start_ = ThreadSeconds();
	size_t unresolved_ = 0;
	std::vector<Instructions> code_; // a copy, relocated
	std::map<std::tuple<uint32_t, uint32_t, uint32_t>, Resolution> resolutions_;
	std::vector<CoreDefect> found_;
};

} // namespace

void CheckAccessStrings(const ObjectFile &file, const struct btf *local, const BtfExt &ext,
                        std::vector<CoreDefect> *out)
{
	bool all = ForEachRelocation(
	        file, ext, [&](uint32_t function, uint32_t at, const struct bpf_core_relo &relo) {
		        if (out->size() >= kMostDefects || IsSound(local, relo))
			        return;
		        out->push_back({"core-invalid", function, at, TypeWords(local, relo.type_id), "",
		                        "its access string, kind or offset is none", Reach::kYes});
	        });
	if (!all)
		out->push_back({"core-invalid", 0, 0, "CO-RE", "",
		                "there are more relocations than instructions", Reach::kYes});
}

int ResolveCoreRelocations(const ObjectFile &file, const Decoded &decoded, const std::vector<bool> &used,
                           const struct btf *local, const BtfExt &ext, const std::string &kernel,
                           std::vector<CoreDefect> *out, size_t *unresolved)
{
	KernelTypes types;
	std::string words;
	int error = types.Open(kernel, &words);
	if (error)
		return error;
	Resolver resolver(file, decoded, local, &types);
	ForEachRelocation(file, ext, [&](uint32_t function, uint32_t at, const struct bpf_core_relo &relo) {
		if (used[function])
			resolver.Relocate(function, at, relo);
	});
	*unresolved = resolver.unresolved();
	std::vector<CoreDefect> found = resolver.Take();
	if (found.empty())
		return 0;
	std::vector<std::vector<Reach>> reach = FollowFlow(file, decoded, resolver.code());
	for (CoreDefect &defect : found) {
		bool poisoned = !strcmp(defect.rule, "core-type-missing") ||
		                !strcmp(defect.rule, "core-field-missing");
		// What libbpf refuses, it refuses wherever it stands.
		if (poisoned)
			defect.reach = reach[defect.function][defect.instruction];
		if (defect.reach != Reach::kNever)
			out->push_back(std::move(defect));
	}
	return 0;
}

} // namespace node_ebpf
