// SPDX-License-Identifier: Apache-2.0
#include "examine/kernel_helpers.h"

#include <algorithm>
#include <iterator>
#include <linux/bpf.h>

namespace node_ebpf
{

namespace
{

#define NODE_EBPF_HELPER_NAME(name, number, ...) "bpf_" #name,
constexpr const char *kNames[] = {___BPF_FUNC_MAPPER(NODE_EBPF_HELPER_NAME)};
#undef NODE_EBPF_HELPER_NAME

// gpl_only of the bpf_func_proto definitions in kernel/bpf/helpers.c, kernel/trace/bpf_trace.c,
// net/core/filter.c, kernel/bpf/stackmap.c and drivers/media/rc/bpf-lirc.c. Those that this could be asked of
// were asked of Linux 6.18: each helper called by a program without a licence, in every program type.
constexpr int32_t kGplOnly[] = {
        BPF_FUNC_probe_read,
        BPF_FUNC_trace_printk,
        BPF_FUNC_perf_event_read,
        BPF_FUNC_perf_event_output,
        BPF_FUNC_get_stackid,
        BPF_FUNC_get_current_task,
        BPF_FUNC_probe_write_user,
        BPF_FUNC_probe_read_str,
        BPF_FUNC_perf_event_read_value,
        BPF_FUNC_perf_prog_read_value,
        BPF_FUNC_override_return,
        BPF_FUNC_get_stack,
        BPF_FUNC_fib_lookup,
        BPF_FUNC_rc_repeat,
        BPF_FUNC_rc_keydown,
        BPF_FUNC_rc_pointer_rel,
        BPF_FUNC_tcp_check_syncookie,
        BPF_FUNC_tcp_gen_syncookie,
        BPF_FUNC_skb_output,
        BPF_FUNC_probe_read_user,
        BPF_FUNC_probe_read_kernel,
        BPF_FUNC_probe_read_user_str,
        BPF_FUNC_probe_read_kernel_str,
        BPF_FUNC_read_branch_records,
        BPF_FUNC_xdp_output,
        BPF_FUNC_seq_printf,
        BPF_FUNC_seq_write,
        BPF_FUNC_seq_printf_btf,
        BPF_FUNC_get_current_task_btf,
        BPF_FUNC_check_mtu,
        BPF_FUNC_snprintf,
        BPF_FUNC_timer_init,
        BPF_FUNC_timer_set_callback,
        BPF_FUNC_timer_start,
        BPF_FUNC_timer_cancel,
        BPF_FUNC_get_func_ip, // not in kprobe.multi programs: lib/licence.ts
        BPF_FUNC_task_pt_regs,
        BPF_FUNC_get_branch_snapshot,
        BPF_FUNC_trace_vprintk,
        BPF_FUNC_copy_from_user_task,
        BPF_FUNC_tcp_raw_gen_syncookie_ipv4,
        BPF_FUNC_tcp_raw_gen_syncookie_ipv6,
        BPF_FUNC_tcp_raw_check_syncookie_ipv4,
        BPF_FUNC_tcp_raw_check_syncookie_ipv6,
};

} // namespace

const char *HelperName(int32_t id)
{
	return id > 0 && static_cast<size_t>(id) < std::size(kNames) ? kNames[id] : nullptr;
}

bool HelperIsGplOnly(int32_t id)
{
	return std::find(std::begin(kGplOnly), std::end(kGplOnly), id) != std::end(kGplOnly);
}

} // namespace node_ebpf
