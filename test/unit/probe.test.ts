import { constants } from 'node:os';
import { afterEach, describe, expect, it, test } from 'vitest';
import type { NativeProbe } from '../../lib/addon/binding.ts';
import { type KernelSupport, probe, probeWithHelpers } from '../../lib/kernel/features.ts';
import { fakeAddon, fileFailure, pretend, stopPretending } from '../helpers/fake.ts';

// Kernels that this one is not, by what they say to the attempts.

const addon = fakeAddon();
afterEach(() => stopPretending(addon));

const { EAGAIN, EBADF, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, EPERM } = constants.errno;
const ENOTSUPP = 524;

const STATUS = '/proc/self/status';
const USER_NS = '/proc/self/ns/user';
const SYSCTL = '/proc/sys/net/core/bpf_jit_enable';
const MOUNTS = '/proc/self/mountinfo';
const BTF = '/sys/kernel/btf/vmlinux';
const PMU = '/sys/bus/event_source/devices/kprobe/type';
const ROOT = { [STATUS]: 'CapEff:\t000001ffffffffff', [USER_NS]: 'user:[4026531837]' };
const NOBODY = { ...ROOT, [STATUS]: 'CapEff:\t0000000000000000' };

/** What attempts give where everything works, but for `differing`. */
function kernelSays(differing: Partial<NativeProbe>): void {
  addon.probe = async (helpers) => ({
    programTypes: { xdp: 0 },
    mapTypes: { ringbuf: 0 },
    helpers: helpers.filter((_, index) => index % 2 === 0).map(() => 0),
    jit: 0,
    jitedBytes: 100,
    tcx: 0,
    xdpLink: 0,
    batch: 0,
    fentry: 0,
    kprobe: 0,
    token: EBADF,
    runStats: 0,
    ...differing,
  });
}

const mount = (place: string, type: string) => `36 25 0:31 / ${place} rw,nosuid shared:9 - ${type} none rw\n`;

describe('what an errno means', () => {
  test.each([
    [ENOMEM, 'unknown', 'the attempt failed (ENOMEM): try again'],
    [EAGAIN, 'unknown', 'the attempt failed (EAGAIN): try again'],
    [EINVAL, 'no', 'this kernel does not have it: Linux 6.6 or newer does (EINVAL)'],
  ])('%i of a kernel before TCX', async (errno, answer, remedy) => {
    pretend({ kernel: '6.1.0-30-amd64', files: ROOT });
    kernelSays({ tcx: errno });
    const { features, remedies } = await probe();
    expect(features.tcx).toBe(answer);
    expect(remedies['features.tcx']).toBe(remedy);
  });

  test('a kernel that is new enough is built without it', async () => {
    pretend({ kernel: '6.12.0', files: ROOT });
    kernelSays({ tcx: EINVAL, batch: EINVAL, programTypes: { lirc_mode2: EINVAL, xdp: EINVAL } });
    const { programTypes, remedies } = await probe();
    expect(programTypes).toEqual({ lirc_mode2: 'no', xdp: 'no' });
    expect(remedies).toMatchObject({
      'features.tcx': 'this kernel is built without it: it needs CONFIG_NET_XGRESS (EINVAL)',
      'features.batch': 'this kernel does not have it (EINVAL)',
      'programTypes.lirc_mode2': 'this kernel is built without it: it needs CONFIG_BPF_LIRC_MODE2 (EINVAL)',
    });
  });

  test('EPERM with every capability is a no where bpf(2) works otherwise, and unknown where it does not', async () => {
    pretend({ files: { ...ROOT, '/sys/kernel/security/lockdown': '[none] integrity confidentiality' } });
    kernelSays({ programTypes: { kprobe: EPERM } });
    addon.refusals = () => ({ command: EINVAL, map: 0 });
    expect((await probe()).programTypes).toEqual({ kprobe: 'no' });
    addon.refusals = () => ({ command: EINVAL, map: EPERM });
    expect(await probe()).toMatchObject({
      programTypes: { kprobe: 'unknown' },
      remedies: { 'programTypes.kprobe': expect.stringContaining('a security module forbids it') },
    });
  });

  test('a helper that is newer than the kernel takes features along', async () => {
    pretend({ kernel: '5.10.0', files: ROOT });
    kernelSays({ helpers: [0, 0, 0, 0, 0, 0, 0, EINVAL, 0, EINVAL] });
    const { features, helpers, remedies } = await probeWithHelpers();
    expect(features.snapshot).toBe('no');
    expect(helpers['syscall.bpf_loop']).toBe('no');
    expect(remedies).toMatchObject({
      'features.snapshot': 'this kernel does not have it: Linux 5.19 or newer does (EINVAL)',
      'helpers.syscall.bpf_loop': 'this kernel does not have it: Linux 5.17 or newer does (EINVAL)',
    });
  });
});

describe('fentry', () => {
  it('is loaded and cannot be attached by arm64 before 6.0', async () => {
    kernelSays({ fentry: ENOTSUPP });
    const { features, remedies } = await probe();
    expect(features.fentry).toBe('no');
    expect(remedies['features.fentry']).toMatch(/cannot attach them \(ENOTSUPP\): arm64 can from Linux 6\.0/);
  });

  it('takes types of the kernel', async () => {
    pretend({ files: ROOT });
    kernelSays({ fentry: EOPNOTSUPP });
    expect((await probe()).remedies['features.fentry']).toContain('CONFIG_DEBUG_INFO_BTF');
  });
});

describe('kprobes', () => {
  test('the attempt decides where the kernel has their event source', async () => {
    pretend({ files: { ...ROOT, [PMU]: '8\n', '/proc/sys/kernel/perf_event_paranoid': '2' } });
    kernelSays({ kprobe: 0 });
    expect((await probe()).features.kprobes).toBe('yes');
    kernelSays({ kprobe: ENOENT });
    expect((await probe()).features.kprobes).toBe('no');
  });

  test.each([
    ['2', 'run as root, or give the process CAP_PERFMON'],
    ['3', 'run as root, or give the process CAP_PERFMON, CAP_SYS_ADMIN'],
  ])('with perf_event_paranoid %s', async (paranoid, remedy) => {
    pretend({ files: { ...NOBODY, [PMU]: '8\n', '/proc/sys/kernel/perf_event_paranoid': paranoid } });
    kernelSays({ kprobe: constants.errno.EACCES });
    const { features, remedies } = await probe();
    expect(features.kprobes).toBe('unknown');
    expect(remedies['features.kprobes']).toBe(remedy);
  });

  test('the event source is handed to the attempt', async () => {
    pretend({ files: { ...ROOT, [PMU]: '8\n' } });
    kernelSays({});
    const tried = addon.probe;
    const types: (number | undefined)[] = [];
    addon.probe = (helpers, type) => {
      types.push(type);
      return tried?.(helpers, type) ?? Promise.reject();
    };
    await probe();
    expect(types).toEqual([8]);
  });

  test.each([
    ['with sysfs, there are none', undefined, 'no', /CONFIG_KPROBES/],
    ['without sysfs nobody knows', fileFailure('ENOENT', 'devices'), 'unknown', /^mount -t sysfs/],
  ])('%s', async (_, devices, answer, remedy) => {
    const folder = '/sys/bus/event_source/devices';
    const files = { [PMU]: fileFailure('ENOENT', PMU), [folder]: devices ?? 'there' };
    pretend({ files: { ...ROOT, ...files } });
    kernelSays({ kprobe: undefined as never });
    const { features, remedies } = await probe();
    expect(features.kprobes).toBe(answer);
    expect(remedies['features.kprobes']).toMatch(remedy);
  });
});

test.each<[string, Record<string, string | Error>, KernelSupport['btf'], RegExp | undefined]>([
  ['it can be read', { [BTF]: 'types' }, 'yes', undefined],
  ['it may not be read', { [BTF]: fileFailure('EACCES', BTF) }, 'unknown', /cannot be read: EACCES$/],
  [
    'sysfs has none',
    { [BTF]: fileFailure('ENOENT', BTF), '/sys/kernel': 'folder' },
    'no',
    /CONFIG_DEBUG_INFO_BTF/,
  ],
  [
    'there is no sysfs',
    { [BTF]: fileFailure('ENOENT', BTF), '/sys/kernel': fileFailure('ENOENT', '/sys/kernel') },
    'unknown',
    /^mount -t sysfs/,
  ],
])('the kernel’s BTF: %s', async (_, files, answer, remedy) => {
  pretend({ files: { ...ROOT, ...files } });
  kernelSays({});
  const { btf, remedies } = await probe();
  expect(btf).toBe(answer);
  expect(remedies.btf ?? '').toMatch(remedy ?? /^$/);
});

test.each<
  [string, Partial<NativeProbe>, Record<string, string | Error>, KernelSupport['jit'], RegExp | undefined]
>([
  ['machine code', {}, ROOT, 'yes', undefined],
  ['none, and CAP_BPF', { jitedBytes: 0 }, ROOT, 'no', /^sysctl net.core.bpf_jit_enable=1/],
  ['none told to nobody, switched on', { jitedBytes: 0 }, { ...NOBODY, [SYSCTL]: '1' }, 'yes', undefined],
  ['none told to nobody, switched off', { jitedBytes: 0 }, { ...NOBODY, [SYSCTL]: '0' }, 'no', /^sysctl/],
  [
    'nobody may even look',
    { jit: EPERM, jitedBytes: 0 },
    { ...NOBODY, [SYSCTL]: fileFailure('EACCES', SYSCTL) },
    'unknown',
    /CAP_BPF$/,
  ],
])('the JIT: %s', async (_, said, files, answer, remedy) => {
  pretend({ files });
  kernelSays(said);
  const { jit, remedies } = await probe();
  expect(jit).toBe(answer);
  expect(remedies.jit ?? '').toMatch(remedy ?? /^$/);
});

describe('mounts', () => {
  async function seen(files: Record<string, string | Error>) {
    pretend({ files: { ...ROOT, ...files } });
    kernelSays({});
    const { bpffs, tracefs, remedies } = await probe();
    return { bpffs, tracefs, remedies };
  }

  it('are unknown without proc', async () => {
    expect(await seen({ [MOUNTS]: fileFailure('ENOENT', MOUNTS) })).toMatchObject({
      bpffs: 'unknown',
      tracefs: 'unknown',
      remedies: {
        bpffs: expect.stringMatching(/^mount -t proc/),
        tracefs: expect.stringMatching(/^mount -t proc/),
      },
    });
  });

  it('have types after a dash', async () => {
    const files = { [MOUNTS]: mount('/b', 'bpf') + mount('/t', 'tracefs') };
    expect(await seen(files)).toMatchObject({ bpffs: 'yes', tracefs: 'yes' });
    expect(await seen({ [MOUNTS]: '' })).toMatchObject({ bpffs: 'no', tracefs: 'no' });
  });

  it.each<[string, string | Error, string, string | undefined]>([
    ['has tracefs in it', 'folder', 'yes', undefined],
    ['may be closed', fileFailure('EACCES', 'events'), 'unknown', '/debug/tracing: EACCES'],
    ['may have none', fileFailure('ENOENT', 'events'), 'no', 'mount -t tracefs tracefs /sys/kernel/tracing'],
  ])('debugfs %s', async (_, events, answer, remedy) => {
    const found = await seen({ [MOUNTS]: mount('/debug', 'debugfs'), '/debug/tracing/events': events });
    expect(found.tracefs).toBe(answer);
    expect(found.remedies.tracefs).toBe(remedy);
  });
});

test('lockdown that cannot be asked is unknown, with how to ask', async () => {
  pretend({ files: { ...ROOT, '/sys/kernel/security/lockdown': fileFailure('ENOENT', 'lockdown') } });
  kernelSays({});
  addon.lockdown = () => EPERM;
  expect(await probe()).toMatchObject({
    lockdown: 'unknown',
    remedies: { lockdown: expect.stringContaining('mount -t securityfs') },
  });
  addon.lockdown = () => ENOENT;
  const { lockdown, remedies } = await probe();
  expect(lockdown).toBe('none');
  expect(remedies).not.toHaveProperty('lockdown');
});
