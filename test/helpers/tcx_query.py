"""Prints the TCX programs of an interface of the network namespace that it is started in, in the order in which they
run: [[program, link], ...] as JSON. Asked of bpf(2) itself: Debian 12's bpftool does not know TCX.

    tcx_query.py IFINDEX ingress|egress
"""

import ctypes
import json
import os
import platform
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_QUERY = 16
ATTACH_TYPE = {"ingress": 46, "egress": 47}  # enum bpf_attach_type
MAX = 64  # BPF_MPROG_MAX


def main():
    programs, links = (ctypes.c_uint32 * MAX)(), (ctypes.c_uint32 * MAX)()
    # union bpf_attr, its struct "query", up to link_attach_flags
    fields = (int(sys.argv[1]), ATTACH_TYPE[sys.argv[2]], 0, 0, ctypes.addressof(programs), MAX, 0, 0)
    attr = ctypes.create_string_buffer(struct.pack("=IIIIQIIQQ", *fields, ctypes.addressof(links)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_BPF, BPF_PROG_QUERY, attr, 48) != 0:
        sys.exit(f"BPF_PROG_QUERY: {os.strerror(ctypes.get_errno())}")
    count = struct.unpack_from("=I", attr, 24)[0]
    json.dump([[programs[i], links[i]] for i in range(count)], sys.stdout)


if __name__ == "__main__":
    main()
