import { accessSync, existsSync, constants as files, statSync } from 'node:fs';
import { constants, release } from 'node:os';
import type { NativeProbe } from '../addon/binding.ts';
import { native } from '../addon/native.ts';
import { errnoName } from '../core/errors.ts';
import {
  type Capability,
  capabilitiesToCreate,
  capabilitiesToLoad,
  effectiveCapabilities,
  lockdown,
  missingCapabilities,
  permissionHint,
  unprivilegedType,
} from './capabilities.ts';
import { kernelBefore } from './release.ts';
import { readText, type Text, textOf } from './text.ts';

/** The version of the libbpf that is linked into the addon, such as `v1.5`. @internal */
export function libbpfVersion(): string {
  return native().libbpfVersion;
}

/**
 * An answer of probe(). `unknown` if the process lacks the permission to find out, or the attempt ran out of
 * memory or descriptors.
 */
export type Tri = 'yes' | 'no' | 'unknown';

/** The eBPF features that this process can use on this kernel. */
export interface KernelSupport {
  /** The kernel's release: `6.12.9-amd64`. */
  kernel: string;
  /** The names of the process's effective capabilities. */
  capabilities: readonly string[];
  /** Whether the kernel has BTF (/sys/kernel/btf/vmlinux), which CO-RE needs. */
  btf: Tri;
  /** Whether programs are compiled to machine code. */
  jit: Tri;
  /** Whether a bpffs is mounted, which pins need. */
  bpffs: Tri;
  /** Whether tracefs is mounted, which tracepoints need. */
  tracefs: Tri;
  /** The kernel's lockdown mode: `none`, `integrity`, `confidentiality`, or `unknown`. */
  lockdown: string;
  /** Program types, by the kernel's names: `xdp`, `sched_cls`, … */
  programTypes: Record<string, Tri>;
  /** Map types, by the kernel's names: `hash`, `percpu_array`, … */
  mapTypes: Record<string, Tri>;
  /**
   * Other features. `batch`: map batches; `snapshot`: readers via `snapshot`; `fentry`: attaching fentry
   * programs; `token`: LoadOptions.tokenPath; `runStats`: enableStats().
   */
  features: Record<
    'tcx' | 'xdpLink' | 'batch' | 'ringbuf' | 'snapshot' | 'kprobes' | 'fentry' | 'token' | 'runStats',
    Tri
  >;
  /** A sentence for each `no` and `unknown`, by its path: `remedies['features.kprobes']`. */
  remedies: Record<string, string>;
}

/**
 * Finds out which features the kernel has by trying them on the thread pool, in some tens of milliseconds. It
 * briefly attaches a program to a test function of the kernel, and leaves nothing behind. `no` is the
 * kernel's answer; without the permission to find out, the answer is `unknown`. Never throws for lack of
 * privilege.
 *
 * @throws EbpfNotSupportedError on a platform without the addon
 * @example
 * const { features, remedies } = await probe();
 * if (features.kprobes !== 'yes') console.log(remedies['features.kprobes']);
 */
export async function probe(): Promise<KernelSupport> {
  const { helpers: _, remedies, ...support } = await probeWithHelpers();
  const own = Object.entries(remedies).filter(([path]) => !path.startsWith('helpers.'));
  return { ...support, remedies: Object.fromEntries(own) };
}

// The helpers that the bundled programs call (linux/bpf.h: enum bpf_prog_type, enum bpf_func_id).
const HELPERS: readonly { type: string; typeNumber: number; name: string; id: number; since?: string }[] = [
  { type: 'xdp', typeNumber: 6, name: 'bpf_map_lookup_elem', id: 1 },
  { type: 'sched_cls', typeNumber: 3, name: 'bpf_skb_load_bytes', id: 26 },
  { type: 'sched_cls', typeNumber: 3, name: 'bpf_ktime_get_ns', id: 5 },
  { type: 'raw_tracepoint', typeNumber: 17, name: 'bpf_get_current_pid_tgid', id: 14 },
  { type: 'raw_tracepoint', typeNumber: 17, name: 'bpf_get_current_cgroup_id', id: 80 },
  { type: 'raw_tracepoint', typeNumber: 17, name: 'bpf_probe_read_kernel', id: 113 },
  { type: 'raw_tracepoint', typeNumber: 17, name: 'bpf_ringbuf_reserve', id: 131 },
  { type: 'syscall', typeNumber: 31, name: 'bpf_map_lookup_percpu_elem', id: 195, since: '5.19' },
  { type: 'syscall', typeNumber: 31, name: 'bpf_for_each_map_elem', id: 164 },
  { type: 'syscall', typeNumber: 31, name: 'bpf_loop', id: 181, since: '5.17' },
];
const SNAPSHOT = 'syscall.bpf_map_lookup_percpu_elem';

/**
 * The reasons why a kernel of 5.10 or newer may lack a feature: the release that added it, the option that
 * enables it.
 */
interface Origin {
  since?: string;
  config?: string;
}

const PROGRAM_TYPES: Readonly<Record<string, Origin>> = {
  ...Object.fromEntries(
    ['kprobe', 'tracepoint', 'perf_event', 'raw_tracepoint', 'raw_tracepoint_writable'].map((type) => [
      type,
      { config: 'CONFIG_BPF_EVENTS' },
    ]),
  ),
  ...Object.fromEntries(
    ['skb', 'sock', 'device', 'sock_addr', 'sysctl', 'sockopt'].map((type) => [
      `cgroup_${type}`,
      { config: 'CONFIG_CGROUP_BPF' },
    ]),
  ),
  ...Object.fromEntries(
    ['in', 'out', 'xmit'].map((type) => [`lwt_${type}`, { config: 'CONFIG_LWTUNNEL_BPF' }]),
  ),
  lwt_seg6local: { config: 'CONFIG_IPV6_SEG6_BPF' },
  lirc_mode2: { config: 'CONFIG_BPF_LIRC_MODE2' },
  tracing: { config: 'CONFIG_DEBUG_INFO_BTF' },
  ext: { config: 'CONFIG_DEBUG_INFO_BTF' },
  struct_ops: { config: 'CONFIG_DEBUG_INFO_BTF' },
  lsm: { config: 'CONFIG_BPF_LSM' },
  syscall: { since: '5.14' },
  netfilter: { since: '6.4', config: 'CONFIG_NETFILTER_BPF_LINK' },
};

const MAP_TYPES: Readonly<Record<string, Origin>> = {
  xskmap: { config: 'CONFIG_XDP_SOCKETS' },
  cgroup_storage: { config: 'CONFIG_CGROUP_BPF' },
  percpu_cgroup_storage: { config: 'CONFIG_CGROUP_BPF' },
  struct_ops: { config: 'CONFIG_DEBUG_INFO_BTF' },
  inode_storage: { config: 'CONFIG_BPF_LSM' },
  task_storage: { since: '5.11' },
  bloom_filter: { since: '5.16' },
  user_ringbuf: { since: '6.1' },
  cgrp_storage: { since: '6.2' },
  arena: { since: '6.9' },
};

/** Collects the remedies while the answers are worked out. */
class Answers {
  readonly remedies: Record<string, string> = {};
  #refusal: { command: number; map: number; hint: string } | undefined;

  /** Turns the errno of an attempt into an answer. */
  judge(path: string, errno: number, needed: readonly Capability[], origin: Origin = {}): Tri {
    if (errno === 0) return 'yes';
    const { EPERM, EACCES, ENOMEM, EMFILE, ENFILE, EAGAIN, EINTR } = constants.errno;
    if (errno === EPERM || errno === EACCES) return this.#refused(path, errno, needed);
    if ([ENOMEM, EMFILE, ENFILE, EAGAIN, EINTR].includes(errno)) {
      return this.answer(path, 'unknown', `the attempt failed (${errnoName(errno)}): try again`);
    }
    return this.answer(path, 'no', `${absence(origin)} (${errnoName(errno)})`);
  }

  // EPERM means that the process may not find out, or that the kernel or a security module refuses the
  // feature.
  #refused(path: string, errno: number, needed: readonly Capability[]): Tri {
    const missing = missingCapabilities(needed);
    if (missing.length > 0) {
      const unprivileged = unprivilegedType(path.replace('programTypes.', ''));
      return this.answer(path, 'unknown', permissionHint(missing, { unprivileged }));
    }
    this.#refusal ??= { ...native().refusals(), hint: permissionHint([]) };
    const { command, map, hint } = this.#refusal;
    const shut = command === constants.errno.EPERM || map !== 0;
    return this.answer(path, shut ? 'unknown' : 'no', `${hint} (${errnoName(errno)})`);
  }

  answer(path: string, answer: Tri, remedy: string): Tri {
    if (answer !== 'yes') this.remedies[path] = remedy;
    return answer;
  }
}

function absence({ since, config }: Origin): string {
  if (since !== undefined && kernelBefore(since))
    return `this kernel does not have it: Linux ${since} or newer does`;
  return config === undefined
    ? 'this kernel does not have it'
    : `this kernel is built without it: it needs ${config}`;
}

/** probe(), with the helpers that the bundled programs call, as `type.helper`. @internal */
export async function probeWithHelpers(): Promise<KernelSupport & { helpers: Record<string, Tri> }> {
  const pmu = readText(KPROBE_PMU);
  const tried = await native().probe(
    HELPERS.flatMap(({ typeNumber, id }) => [typeNumber, id]),
    pmu.text === undefined ? undefined : Number(pmu.text),
  );
  const answers = new Answers();
  const programTypes = Object.fromEntries(
    Object.entries(tried.programTypes).map(([type, errno]) => {
      const path = `programTypes.${type}`;
      return [type, answers.judge(path, errno, capabilitiesToLoad(type), PROGRAM_TYPES[type])];
    }),
  );
  const mapTypes = Object.fromEntries(
    Object.entries(tried.mapTypes).map(([type, errno]) => {
      return [type, answers.judge(`mapTypes.${type}`, errno, capabilitiesToCreate(type), MAP_TYPES[type])];
    }),
  );
  const helpers = Object.fromEntries(
    HELPERS.map(({ type, name, since }, index) => {
      const key = `${type}.${name}`;
      const origin = since === undefined ? {} : { since };
      const errno = tried.helpers[index] ?? constants.errno.EINVAL;
      return [key, answers.judge(`helpers.${key}`, errno, capabilitiesToLoad(type), origin)];
    }),
  );
  const snapshot = tried.helpers[HELPERS.findIndex(({ type, name }) => `${type}.${name}` === SNAPSHOT)] ?? 0;
  const toFilter: Capability[] = ['CAP_BPF', 'CAP_NET_ADMIN'];
  const features = {
    tcx: answers.judge('features.tcx', tried.tcx, toFilter, { since: '6.6', config: 'CONFIG_NET_XGRESS' }),
    xdpLink: answers.judge('features.xdpLink', tried.xdpLink, toFilter, { since: '5.9' }),
    batch: answers.judge('features.batch', tried.batch, ['CAP_BPF'], { since: '5.6' }),
    ringbuf: answers.judge('features.ringbuf', tried.mapTypes.ringbuf ?? 0, ['CAP_BPF'], { since: '5.8' }),
    snapshot: answers.judge('features.snapshot', snapshot, ['CAP_BPF'], { since: '5.19' }),
    kprobes: kprobes(answers, tried, pmu),
    fentry: fentry(answers, tried),
    token: answers.judge('features.token', tried.token, ['CAP_BPF'], { since: '6.9' }),
    runStats: answers.judge('features.runStats', tried.runStats, ['CAP_SYS_ADMIN'], { since: '5.8' }),
  };
  const locked = lockdown();
  if (locked === 'unknown') {
    answers.remedies.lockdown =
      'mount -t securityfs securityfs /sys/kernel/security, or run as root, which can read it unmounted';
  }
  return {
    kernel: release(),
    capabilities: effectiveCapabilities(),
    btf: btf(answers),
    jit: jit(answers, tried),
    bpffs: bpffs(answers),
    tracefs: tracefs(answers),
    lockdown: locked,
    programTypes,
    mapTypes,
    features,
    helpers,
    remedies: answers.remedies,
  };
}

// Above 2, Debian's and Android's kernels allow perf_event_open(2) only with CAP_SYS_ADMIN.
function capabilitiesToOpenEvents(): Capability[] {
  const paranoid = Number(textOf('/proc/sys/kernel/perf_event_paranoid') ?? 2);
  return paranoid > 2 ? ['CAP_PERFMON', 'CAP_SYS_ADMIN'] : ['CAP_PERFMON'];
}

const EVENT_SOURCES = '/sys/bus/event_source/devices';
const KPROBE_PMU = `${EVENT_SOURCES}/kprobe/type`;

// Kernels without kprobes can still load programs of type kprobe: uprobes use the type too.
function kprobes(answers: Answers, tried: NativeProbe, pmu: Text): Tri {
  const path = 'features.kprobes';
  if (tried.kprobe !== undefined) return answers.judge(path, tried.kprobe, capabilitiesToOpenEvents());
  if (pmu.code === 'ENOENT' && existsSync(EVENT_SOURCES)) {
    return answers.answer(
      ...([path, 'no'] as const),
      'this kernel is built without it: it needs CONFIG_KPROBES and CONFIG_KPROBE_EVENTS; tracepoints may be enough',
    );
  }
  return answers.answer(
    path,
    'unknown',
    'mount -t sysfs sysfs /sys, which shows whether the kernel has kprobes',
  );
}

function fentry(answers: Answers, { fentry: errno }: NativeProbe): Tri {
  const path = 'features.fentry';
  if (errnoName(errno) === 'ENOTSUPP') {
    const remedy =
      'this kernel loads fentry programs but cannot attach them (ENOTSUPP): arm64 can from Linux 6.0 on';
    return answers.answer(path, 'no', remedy);
  }
  return answers.judge(path, errno, ['CAP_BPF', 'CAP_PERFMON'], { config: 'CONFIG_DEBUG_INFO_BTF' });
}

const VMLINUX_BTF = '/sys/kernel/btf/vmlinux';

function btf(answers: Answers): Tri {
  try {
    accessSync(VMLINUX_BTF, files.R_OK);
    return 'yes';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') return answers.answer('btf', 'unknown', `${VMLINUX_BTF} cannot be read: ${code}`);
  }
  if (!existsSync('/sys/kernel')) return answers.answer('btf', 'unknown', 'mount -t sysfs sysfs /sys');
  return answers.answer('btf', 'no', 'this kernel is built without it: it needs CONFIG_DEBUG_INFO_BTF');
}

// The kernel reports the length of a program's machine code only with CAP_BPF, otherwise 0.
function jit(answers: Answers, tried: NativeProbe): Tri {
  if (tried.jit === 0 && tried.jitedBytes > 0) return 'yes';
  const sysctl = textOf('/proc/sys/net/core/bpf_jit_enable');
  const asked = tried.jit === 0 && missingCapabilities(['CAP_BPF']).length === 0;
  if (!asked && sysctl === undefined) {
    return answers.answer('jit', 'unknown', permissionHint(missingCapabilities(['CAP_BPF'])));
  }
  if (!asked && sysctl !== '0') return 'yes';
  return answers.answer(
    'jit',
    'no',
    'sysctl net.core.bpf_jit_enable=1; the kernel may be built without CONFIG_BPF_JIT',
  );
}

function bpffs(answers: Answers): Tri {
  const all = mounts();
  if (!all) return answers.answer('bpffs', 'unknown', MOUNT_PROC);
  if (all.some(({ type }) => type === 'bpf')) return 'yes';
  return answers.answer('bpffs', 'no', 'mount -t bpf bpf /sys/fs/bpf');
}

// debugfs mounts tracefs in itself at the first access.
function tracefs(answers: Answers): Tri {
  const all = mounts();
  if (!all) return answers.answer('tracefs', 'unknown', MOUNT_PROC);
  if (all.some(({ type }) => type === 'tracefs')) return 'yes';
  const debugfs = all.find(({ type }) => type === 'debugfs');
  if (debugfs) {
    try {
      statSync(`${debugfs.mountPoint}/tracing/events`);
      return 'yes';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT')
        return answers.answer('tracefs', 'unknown', `${debugfs.mountPoint}/tracing: ${code}`);
    }
  }
  return answers.answer('tracefs', 'no', 'mount -t tracefs tracefs /sys/kernel/tracing');
}

const MOUNT_PROC = 'mount -t proc proc /proc, which shows the mounts';

// In proc_pid_mountinfo(5), the mount point is the fifth field and the type is the first after the dash.
function mounts(): { mountPoint: string; type: string }[] | undefined {
  const lines = textOf('/proc/self/mountinfo')?.split('\n');
  return lines?.map((line) => {
    const [left = '', right = ''] = line.split(' - ');
    return { mountPoint: left.split(' ')[4] ?? '', type: right.split(' ')[0] ?? '' };
  });
}
