"""Prints the programs of a cgroup: [program, ...] as JSON. Asked of bpf(2) itself: bpftool fails on kernels that do not
know its last attach types.

    cgroup_query.py FOLDER
"""

import ctypes
import json
import os
import platform
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_QUERY = 16
# Those of cgroups in enum bpf_attach_type, up to Linux 5.10.
ATTACH_TYPES = (*range(0, 4), 6, *range(8, 16), *range(18, 23), *range(29, 33), 34)
MAX = 64


def main():
    folder = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
    programs = (ctypes.c_uint32 * MAX)()
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for attach_type in ATTACH_TYPES:
        # union bpf_attr, its struct "query", up to prog_cnt
        fields = (folder, attach_type, 0, 0, ctypes.addressof(programs), MAX, 0)
        attr = ctypes.create_string_buffer(struct.pack("=IIIIQII", *fields))
        if libc.syscall(SYS_BPF, BPF_PROG_QUERY, attr, 32) != 0:
            sys.exit(f"BPF_PROG_QUERY {attach_type}: {os.strerror(ctypes.get_errno())}")
        found += programs[: struct.unpack_from("=I", attr, 24)[0]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
