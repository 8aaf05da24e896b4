// What an object's SEC() names: libbpf's table (libbpf.c, section_defs), those that it can attach by themselves.

const SELF_ATTACHING =
  /^\??(kprobe|kretprobe|ksyscall|kretsyscall|uprobe|uretprobe|usdt|kprobe\.multi|kretprobe\.multi|kprobe\.session|uprobe\.multi|uretprobe\.multi|tracepoint|tp|raw_tracepoint|raw_tp|raw_tracepoint\.w|raw_tp\.w|tp_btf|fentry|fexit|fmod_ret|freplace|lsm|iter)(?:\.s)?(?:\/(.+))?$/;

/** Kind and target of a section that says where its program goes: `tp/sched/sched_switch`; undefined for `xdp`. */
export function attachPoint(section: string): { kind: string; target: string } | undefined {
  const [, kind, target] = SELF_ATTACHING.exec(section) ?? [];
  return kind === undefined || target === undefined ? undefined : { kind, target };
}
