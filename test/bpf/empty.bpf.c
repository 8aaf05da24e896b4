// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that do nothing, attached where the bundled programs are: the run time that the kernel reports for
 * them is that of its own clock and of the way there (bench/overhead-process.js).
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define EMPTY(section, name, result)                                                                         \
	SEC("?" section)                                                                                     \
	int name(void *ctx)                                                                                  \
	{                                                                                                    \
		return result;                                                                               \
	}

EMPTY("xdp", xdp, XDP_PASS)
EMPTY("tc", tc, TC_ACT_UNSPEC)
EMPTY("tp_btf/net_dev_xmit", net_dev_xmit, 0)
EMPTY("tp_btf/netif_receive_skb", netif_receive_skb, 0)
EMPTY("tp_btf/kfree_skb", kfree_skb, 0)
EMPTY("tp_btf/tcp_retransmit_skb", tcp_retransmit_skb, 0)
EMPTY("tp_btf/inet_sock_set_state", inet_sock_set_state, 0)
EMPTY("tp_btf/sys_enter", sys_enter, 0)
EMPTY("tp_btf/sys_exit", sys_exit, 0)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
