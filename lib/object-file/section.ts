// The sections of libbpf's table (libbpf.c, section_defs) whose programs libbpf can attach by the section
// name alone.

const SELF_ATTACHING =
  /^\??(kprobe|kretprobe|ksyscall|kretsyscall|uprobe|uretprobe|usdt|kprobe\.multi|kretprobe\.multi|kprobe\.session|uprobe\.multi|uretprobe\.multi|tracepoint|tp|raw_tracepoint|raw_tp|raw_tracepoint\.w|raw_tp\.w|tp_btf|fentry|fexit|fmod_ret|freplace|lsm|iter)(?:\.s)?(?:\/(.+))?$/;

/**
 * Splits a section name that says where to attach, such as `tp/sched/sched_switch`; undefined for one like
 * `xdp`.
 */
export function attachPoint(section: string): { kind: string; target: string } | undefined {
  const [, kind, target] = SELF_ATTACHING.exec(section) ?? [];
  return kind === undefined || target === undefined ? undefined : { kind, target };
}
