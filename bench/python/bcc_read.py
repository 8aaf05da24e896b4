#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bcc_read.py ID TYPE KEY_SIZE VALUE_SIZE ENTRIES: reads the map once with BCC and prints the way and the total. Then, for each
count on standard input, reads it that many times and prints nanoseconds per read."""
import ctypes
import sys
import time

from bcc import table

map_id, kind, key_size, value_size, entries = (int(word) for word in sys.argv[1:])


class Key(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * key_size)]


class Foreign:
    """Stands in for a program compiled by BCC, which BCC asks for the properties of its maps."""

    module = None


# BCC did not compile the program of this map, so these functions return the map's properties.
table.lib.bpf_table_type_id = lambda module, at: kind
table.lib.bpf_table_flags_id = lambda module, at: 0
table.lib.bpf_table_max_entries_id = lambda module, at: entries

fd = table.lib.bpf_map_get_fd_by_id(map_id)
if fd < 0:
    sys.exit(f"BCC cannot open map {map_id}")
is_array = kind in (table.BPF_MAP_TYPE_ARRAY, table.BPF_MAP_TYPE_PERCPU_ARRAY)
per_cpu = kind in (table.BPF_MAP_TYPE_PERCPU_ARRAY, table.BPF_MAP_TYPE_PERCPU_HASH)
leaf = ctypes.c_uint64 * (value_size // 8)
counters = table.Table(Foreign(), map_id, fd, ctypes.c_uint32 if is_array else Key, leaf, "counters")


def read_batch():
    return sum(sum(value) for _, value in counters.items_lookup_batch())


def read_items():
    return sum(sum(word for cpu in value for word in cpu) for _, value in counters.items())


read = read_items if per_cpu else read_batch
print("items" if per_cpu else "items_lookup_batch", read(), flush=True)
for line in sys.stdin:
    start = time.perf_counter_ns()
    for _ in range(int(line)):
        read()
    print((time.perf_counter_ns() - start) / int(line), flush=True)
