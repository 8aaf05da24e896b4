// SPDX-License-Identifier: Apache-2.0
#include "examine/examination.h"

#include "base/errors.h"
#include "base/options.h"

#include <algorithm>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

namespace node_ebpf
{

void Examination::Run(std::vector<uint8_t> source, const std::optional<std::string> &kernel_btf)
{
	LogCapture capture;
	Look(std::move(source), kernel_btf);
	said = capture.Rest();
}

void Examination::Look(std::vector<uint8_t> source, const std::optional<std::string> &kernel_btf)
{
	bytes = std::move(source);
	file.Open(bytes, &refusals);
	// A function-overlap is work without a bound; other refusals leave the rest of the file readable.
	readable = file.readable();
	if (!readable)
		return;
	{
		LogCapture types;
		ReadTypes();
		if (refusals.empty())
			types.Forget(); // libbpf says the same when it opens the object
	}
	Decode(file, &decoded);
	calls = FollowCalls(file, decoded);
	if (btf)
		CheckAccessStrings(file, btf.get(), btf_ext, &core_defects);
	if (refusals.empty())
		Open();
	if (object && btf && kernel_btf && btf_ext.relocation_count > 0 && core_defects.empty())
		kernel_btf_error = ResolveCoreRelocations(file, decoded, calls.used, btf.get(), btf_ext,
		                                          *kernel_btf, &core_defects, &core_unresolved);
}

void Examination::ReadTypes()
{
	if (!file.btf.data)
		return;
	int error = 0;
	btf = ParseBtf(file.btf, &error);
	if (!btf)
		return;
	if (auto endless = EndlessType(btf.get())) {
		refusals.push_back({"btf-endless", *endless, {}});
		btf.reset();
		return;
	}
	btf__set_pointer_size(btf.get(), 8);
	if (!btf_ext.Read(file.btf_ext, btf.get()))
		refusals.push_back({"btf-ext-layout", ".BTF.ext is laid out as no compiler does", {}});
}

void Examination::Open()
{
	LogCapture capture;
	Zeroed<struct bpf_object_open_opts> opts;
	opts.object_name = "inspect";
	int error = 0;
	object = OpenObject(bytes, &opts, &error);
	if (object) {
		log = capture.Copy();
		return;
	}
	Failure failure = Failure::FromErrno(error, "bpf_object__open_mem", capture.Take());
	refusals.push_back({"object-open", failure.message, failure.log});
	file.CheckSections(&refusals);
}

const LineRecord *Examination::LineOf(uint32_t function, uint32_t instruction) const
{
	const Function &place = file.functions[function];
	const SectionRecords *records = btf_ext.Of(file.code[place.code].name);
	if (!records)
		return nullptr;
	uint32_t at = place.first + instruction;
	auto after = std::upper_bound(
	        records->lines.begin(), records->lines.end(), at,
	        [](uint32_t index, const LineRecord &line) { return index < line.instruction; });
	if (after == records->lines.begin() || (after - 1)->instruction < place.first)
		return nullptr;
	return &*(after - 1);
}

} // namespace node_ebpf
