// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* tc_classifier with a map of flows that can be full: an LRU hash refuses a flow only where it has no memory.
 */
#include <linux/bpf.h>
#define FLOWS_TYPE BPF_MAP_TYPE_HASH
#include "tc_classifier.bpf.c"
