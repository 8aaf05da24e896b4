"""Asks the kernel for one feature by its own system calls, and writes ok or the errno: ask_kernel.py FEATURE"""
import ctypes
import errno
import platform
import struct
import sys

BPF, PERF_EVENT_OPEN = {"x86_64": (321, 298), "aarch64": (280, 241)}[platform.machine()]
PROG_LOAD, RAW_TRACEPOINT_OPEN, LINK_CREATE = 5, 17, 28
KPROBE, SCHED_CLS, TRACING, LSM = 2, 3, 26, 29
TRACE_FENTRY, LSM_MAC, TRACE_ITER, TRACE_KPROBE_MULTI, TCX_INGRESS = 24, 27, 28, 42, 46
# A function that is in every kernel with BPF, and that nothing calls.
FUNCTION = b"bpf_fentry_test1"
PERF_ATTR_SIZE = 120
# 95 has two names, and the kernel's own is this.
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    answer = libc.syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, NAMES[code])
    return answer


def bpf(command, layout, *values):
    packed = struct.pack(layout, *values).ljust(152, b"\0")
    buffer = ctypes.create_string_buffer(packed, len(packed))
    return call(BPF, ctypes.c_long(command), buffer, ctypes.c_long(len(packed)))


def load(kind, attach_type=0, btf_id=0):
    """A program that returns 0."""
    instructions = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(instructions), ctypes.addressof(licence)
    # prog_type insn_cnt insns license … expected_attach_type@68 … attach_btf_id@108
    return bpf(PROG_LOAD, "=IIQQ44xI36xI", kind, 2, *addresses, attach_type, btf_id)


def perf_event(kind, config=0, config1=0, pid=-1, cpu=0):
    """A disabled event: type size config … flags@40 … config1@56"""
    packed = struct.pack("=IIQ24xQ8xQ", kind, PERF_ATTR_SIZE, config, 1, config1).ljust(PERF_ATTR_SIZE, b"\0")
    buffer = ctypes.create_string_buffer(packed, len(packed))
    minus_one = ctypes.c_long(-1)
    return call(PERF_EVENT_OPEN, buffer, ctypes.c_long(pid), ctypes.c_long(cpu), minus_one, ctypes.c_long(0))


def btf_id(name):
    """The number of a function in the kernel's own types."""
    with open("/sys/kernel/btf/vmlinux", "rb") as file:
        blob = file.read()
    header, types, types_length, strings, strings_length = struct.unpack_from("=IIIII", blob, 4)
    texts = blob[header + strings : header + strings + strings_length]
    wanted = texts.index(b"\0" + name + b"\0") + 1
    # What follows the twelve bytes of a type: so many bytes, and so many for each of its members.
    more = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12)}
    at, number = header + types, 0
    while at < header + types + types_length:
        number += 1
        text, info = struct.unpack_from("=II", blob, at)
        kind = info >> 24 & 0x1F
        if kind == 12 and text == wanted:
            return number
        fixed, each = more.get(kind, (0, 0))
        at += 12 + fixed + each * (info & 0xFFFF)
    raise OSError(errno.ENOENT, "ENOENT")


def kprobes():
    with open("/sys/bus/event_source/devices/kprobe/type", encoding="ascii") as file:
        kind = int(file.read())
    name = ctypes.create_string_buffer(FUNCTION)
    perf_event(kind, config1=ctypes.addressof(name))


def kprobe_multi():
    program = load(KPROBE, TRACE_KPROBE_MULTI)
    name = ctypes.create_string_buffer(FUNCTION)
    names = (ctypes.c_void_p * 1)(ctypes.addressof(name))
    bpf(LINK_CREATE, "=IIIIIIQQQ", program, 0, TRACE_KPROBE_MULTI, 0, 0, 1, ctypes.addressof(names), 0, 0)


def fentry():
    bpf(RAW_TRACEPOINT_OPEN, "=QI", 0, load(TRACING, TRACE_FENTRY, btf_id(FUNCTION)))


def lsm():
    bpf(RAW_TRACEPOINT_OPEN, "=QI", 0, load(LSM, LSM_MAC, btf_id(b"bpf_lsm_file_open")))


def iter_of_map_elements():
    load(TRACING, TRACE_ITER, btf_id(b"bpf_iter_bpf_map_elem"))


def tcx():
    try:
        bpf(LINK_CREATE, "=IIII", load(SCHED_CLS), 0, TCX_INGRESS, 0)
    except OSError as error:
        # No interface has number 0, and a kernel with TCX looks for it.
        if error.errno != errno.ENODEV:
            raise


def hardware_counters():
    perf_event(0, pid=0, cpu=-1)


try:
    {
        "kprobes": kprobes,
        "kprobe.multi": kprobe_multi,
        "fentry": fentry,
        "lsm": lsm,
        "iter of map elements": iter_of_map_elements,
        "tcx": tcx,
        "hardware counters": hardware_counters,
    }[sys.argv[1]]()
    print("ok")
except OSError as error:
    print(NAMES[error.errno])
