import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { afterEach, describe, expect, it, test } from 'vitest';
import type { NativePin, NativeXdpState } from '../../lib/addon/binding.ts';
import { onLog } from '../../lib/addon/log.ts';
import { attachFailure } from '../../lib/attach/failure.ts';
import { attachTc, type TcOptions } from '../../lib/attach/tc.ts';
import { xdpHolder, xdpQuery } from '../../lib/attach/xdp-query.ts';
import { nearest } from '../../lib/core/nearest.ts';
import { byIdFailure } from '../../lib/handle/by-id.ts';
import { tryQuery } from '../../lib/handle/holder.ts';
import { openPin, pin, pinPath, unpin } from '../../lib/handle/pin.ts';
import {
  effectiveCapabilities,
  inUserNamespace,
  lockdown,
  memlockLimit,
  permissionHint,
  unprivilegedBpfDisabled,
} from '../../lib/kernel/capabilities.ts';
import { dropPrivileges } from '../../lib/kernel/drop-privileges.ts';
import { findInterface, listInterfaces, requireUp } from '../../lib/kernel/interfaces.ts';
import { netnsIdentity } from '../../lib/kernel/netns.ts';
import { probeKind } from '../../lib/kernel/probe-events.ts';
import { enableStats } from '../../lib/kernel/run-stats.ts';
import { tracepointNumber } from '../../lib/kernel/tracefs.ts';
import { tryCreateLoader } from '../../lib/loader/try-create.ts';
import { loadObject, loadObjectSync } from '../../lib/object/object.ts';
import { refusalFinding, typeFindings } from '../../lib/object-file/code-findings.ts';
import { dryRun } from '../../lib/object-file/dry-run.ts';
import type { BpfProgram } from '../../lib/program/program.ts';
import { caught, rejection } from '../helpers/caught.ts';
import { fakeAddon, fileFailure, nativeFailure, pretend, stopPretending } from '../helpers/fake.ts';
import { testObject } from '../helpers/objects.ts';

// What an error says of refusals that this kernel does not give.

const addon = fakeAddon();
afterEach(() => stopPretending(addon));

const { EINVAL, EIO, ENODEV, ENOENT, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, EROFS } = constants.errno;

const STATUS = '/proc/self/status';
const ALL = '000001ffffffffff';
const status = (effective: string, seccomp = 0) => `CapEff:\t${effective}\nSeccomp:\t${seccomp}\n`;
const ROOT = { [STATUS]: status(ALL), '/proc/self/ns/user': 'user:[4026531837]' };
const NOBODY = { ...ROOT, [STATUS]: status('0000000000000000') };

function fails(errno: number, operation?: string, log?: string[]): () => never {
  return () => {
    throw nativeFailure(errno, operation, log);
  };
}

describe('EPERM with every capability is asked about', () => {
  const LOCKDOWN = '/sys/kernel/security/lockdown';
  const LIMITS = '/proc/self/limits';
  const NONE = { [LOCKDOWN]: '[none] integrity confidentiality' };

  test.each([
    [2, /^a seccomp filter forbids bpf\(2\)/],
    [0, /^bpf\(2\) is refused before the kernel looks at the call/],
  ])('bpf(2) is shut, with Seccomp %i', (seccomp, hint) => {
    pretend({ files: { ...ROOT, [STATUS]: status(ALL, seccomp) } });
    addon.refusals = () => ({ command: EPERM, map: EPERM });
    expect(permissionHint([])).toMatch(hint);
  });

  test.each([
    ['5.10.0', '000001fffeffffff', '65536', /^the memlock limit is 65536 bytes, and maps count against it/],
    [
      '5.11.0',
      '000001fffeffffff',
      '65536',
      /^the process has the capabilities, and bpf\(2\) works otherwise/,
    ],
    ['5.10.0', '000001fffeffffff', 'unlimited', /works otherwise/],
    ['5.10.0', ALL, '65536', /works otherwise/], // CAP_SYS_RESOURCE: libbpf raises the limit
  ])('the memlock limit: Linux %s, capabilities %s, %s', (kernel, held, limit, hint) => {
    const limits = `Max cpu time unlimited unlimited\nMax locked memory         ${limit}     ${limit}   bytes\n`;
    pretend({ kernel, files: { ...ROOT, ...NONE, [STATUS]: status(held), [LIMITS]: limits } });
    addon.refusals = () => ({ command: EINVAL, map: 0 });
    expect(permissionHint([])).toMatch(hint);
  });

  test.each([
    ['none integrity [confidentiality]', 0, /^kernel lockdown is "confidentiality"/],
    ['[none] integrity confidentiality', EPERM, /a security module forbids it, see the audit log$/],
    ['none [integrity] confidentiality', 0, /forbids just this call; kernel lockdown is integrity$/],
  ])('lockdown %s, and a map gives %i', (text, map, hint) => {
    pretend({ kernel: '6.1.0', files: { ...ROOT, [LOCKDOWN]: text } });
    addon.refusals = () => ({ command: EINVAL, map });
    expect(permissionHint([])).toMatch(hint);
  });

  test('what /proc does not tell is not made up', () => {
    const gone = (path: string) => fileFailure('ENOENT', path);
    const files = [
      STATUS,
      LIMITS,
      LOCKDOWN,
      '/proc/self/ns/user',
      '/proc/sys/kernel/unprivileged_bpf_disabled',
    ];
    pretend({ files: Object.fromEntries(files.map((path) => [path, gone(path)])) });
    addon.lockdown = () => EPERM;
    expect(effectiveCapabilities()).toEqual([]);
    expect(memlockLimit()).toBe('unlimited');
    expect(inUserNamespace()).toBe(false);
    expect(lockdown()).toBe('unknown');
    expect(unprivilegedBpfDisabled()).toBeUndefined();
  });

  test('a capability that is newer than the list is a number; lockdown without brackets is unknown', () => {
    pretend({ files: { ...ROOT, [STATUS]: status('0004000000000001'), [LOCKDOWN]: 'none' } });
    expect(effectiveCapabilities()).toEqual(['CAP_CHOWN', 'CAP_50']);
    expect(lockdown()).toBe('unknown');
  });
});

describe('tryCreateLoader', () => {
  test.each([
    [ENOSYS, 'EbpfNotSupportedError', 'ERR_EBPF_NOT_SUPPORTED', /CONFIG_BPF_SYSCALL/],
    [EINVAL, 'EbpfNotSupportedError', 'ERR_EBPF_NOT_SUPPORTED', /5\.10 or newer/],
    [ENOMEM, 'EbpfError', 'ENOMEM', /^it may pass/],
  ])('a map that gives %i', async (errno, name, code, hint) => {
    addon.refusals = () => ({ command: EINVAL, map: errno });
    const { loader, reason } = await tryCreateLoader();
    expect(loader).toBeUndefined();
    expect(reason).toMatchObject({ name, code, errno, syscall: 'bpf', hint: expect.stringMatching(hint) });
  });

  test('EPERM with every capability names none', async () => {
    pretend({ files: { ...ROOT, '/sys/kernel/security/lockdown': '[none]' } });
    addon.refusals = () => ({ command: EINVAL, map: EPERM });
    const { reason } = await tryCreateLoader();
    expect(reason).toMatchObject({ name: 'EbpfPermissionError', missing: [] });
    expect(reason?.hint).not.toContain('CAP_NET_ADMIN');
  });
});

describe('dropPrivileges', () => {
  const PASSWD = { '/etc/passwd': 'half:x\nwww:x:33:33\n', '/etc/group': 'www:x:33:\n' };

  // In a worker thread nothing comes so far: test/unit/worker.test.ts.
  const refused = { name: 'EbpfNotSupportedError' };

  test('what the kernel refuses, with the call', () => {
    pretend({ files: { ...ROOT, ...PASSWD } });
    addon.dropPrivileges = fails(EPERM, 'setresuid');
    if (!isMainThread) {
      expect(caught(() => dropPrivileges({ uid: 'www', gid: 'www' }))).toMatchObject(refused);
      return;
    }
    expect(caught(() => dropPrivileges({ uid: 'www', gid: 'www' }))).toMatchObject({
      name: 'EbpfError',
      code: 'EPERM',
      syscall: 'setresuid',
      message: 'drop privileges to www:www: setresuid: the kernel says EPERM',
    });
  });

  test('a line without a number is nobody', () => {
    pretend({ files: { ...ROOT, ...PASSWD } });
    expect(caught(() => dropPrivileges({ uid: 'half', gid: 'www' }))).toMatchObject({
      code: 'ERR_EBPF_NO_USER',
    });
  });

  test('without the files only numbers are known', () => {
    const gone = fileFailure('ENOENT', '/etc/group');
    pretend({ files: { ...NOBODY, '/etc/passwd': gone, '/etc/group': gone } });
    expect(caught(() => dropPrivileges({ uid: 33, gid: 'www' }))).toMatchObject({
      code: 'ERR_EBPF_NO_GROUP',
    });
    expect(caught(() => dropPrivileges({ uid: '33', gid: '33' }))).toMatchObject(
      isMainThread ? { missing: ['CAP_SETGID', 'CAP_SETUID'] } : refused,
    );
  });
});

describe('attaching to TC', () => {
  function refused(attempt: () => never, options: Partial<TcOptions> = {}): unknown {
    addon.interfaces = () => [{ ifindex: 7, name: 'eth7', up: true, hardware: 1 }];
    addon.programInfo = fails(EPERM);
    const native = { attachTcx: attempt, attachClsact: attempt };
    const program = { name: 'p', id: 9, type: 'sched_cls', native } as unknown as BpfProgram;
    return caught(() => attachTc(program, { iface: 'eth7', direction: 'ingress', ...options }, () => {}));
  }

  it('tries TCX where the kernel does not say that it has none', () => {
    addon.tcxPrograms = fails(EPERM);
    pretend({ files: NOBODY });
    expect(refused(fails(EPERM))).toMatchObject({
      message: 'attach p to eth7 ingress (tcx): the kernel says EPERM',
      missing: ['CAP_NET_ADMIN'],
    });
    addon.tcxPrograms = fails(EINVAL);
    expect(refused(fails(EPERM), { via: 'tcx' })).toMatchObject({ feature: 'tcx', minKernel: '6.6' });
    expect(refused(fails(EPERM), { order: 'first' })).toMatchObject({ feature: 'tcx' });
    addon.tcxPrograms = () => {
      throw new RangeError('ours');
    };
    expect(refused(fails(EPERM))).toBeInstanceOf(RangeError);
  });

  it('says who is there where the place is none', () => {
    addon.tcxPrograms = () => [{ programId: 3, linkId: 4 }];
    expect(refused(fails(ENODEV))).toMatchObject({ code: 'ENODEV', target: 'eth7' });
    expect(refused(fails(ENOMEM))).not.toHaveProperty('hint');
    const anchored = refused(fails(ENOENT), { order: { before: { programId: 5 } } });
    expect(anchored).toMatchObject({ code: 'ENOENT', hint: 'attached, in order: program 3 (link 4)' });
    addon.tcxPrograms = () => [];
    expect(refused(fails(ENOENT), { order: { after: { linkId: 5 } } })).toMatchObject({
      hint: 'attached, in order: nothing',
    });
    expect(refused(fails(ENOENT), { order: { after: {} as never } })).toBeInstanceOf(RangeError);
    expect(refused(fails(constants.errno.EEXIST))).toMatchObject({ holder: { programId: 9 } });
  });

  it('by clsact takes the qdisc away that it made, and says what holds the place', () => {
    let removed = 0;
    addon.createClsact = () => true;
    addon.removeClsact = () => {
      removed++;
    };
    const via = 'clsact';
    expect(refused(fails(ENODEV), { via })).toMatchObject({ code: 'ENODEV', target: 'eth7' });
    expect(removed).toBe(1);
    addon.tcFilters = () => [];
    expect(refused(fails(EINVAL), { via })).toMatchObject({ code: 'EINVAL', target: 'eth7' });
    const theirs = { kind: 'u32', priority: 1, handle: 2, protocol: 3, programId: 0 };
    addon.tcFilters = () => [theirs];
    expect(refused(fails(EINVAL), { via, priority: 1 })).toMatchObject({
      code: 'EEXIST',
      message: expect.stringContaining('held by a u32 filter at priority 1, handle 2'),
    });
    // Of our kind, for one protocol: its priority is taken for all.
    addon.tcFilters = () => [{ ...theirs, kind: 'bpf', protocol: 0x800, programId: 8 }];
    expect(refused(fails(EINVAL), { via, priority: 1 })).toMatchObject({
      code: 'EEXIST',
      holder: { programId: 8 },
    });
    addon.tcFilters = () => [{ ...theirs, kind: 'bpf', programId: 8 }];
    expect(refused(fails(EINVAL), { via, priority: 1, handle: 1 })).toMatchObject({ code: 'EINVAL' });
  });

  it('ends where all priorities are taken', () => {
    addon.createClsact = () => false;
    const handle = { kind: 'bpf', handle: 1, protocol: 3, programId: 8 };
    addon.tcFilters = () =>
      Array.from({ length: 0xc000 }, (_, index) => ({ ...handle, priority: index + 1 }));
    expect(refused(fails(constants.errno.ENOSPC), { via: 'clsact' })).toMatchObject({ code: 'ENOSPC' });
  });
});

test('run statistics of a kernel without them', () => {
  addon.enableStats = fails(EINVAL);
  expect(caught(() => enableStats())).toMatchObject({ name: 'EbpfError', code: 'EINVAL' });
});

test('a listener that is gone hears nothing of what was said before', async () => {
  let say = (_level: string, _line: string) => {};
  addon.onLog = (listener) => {
    if (listener) say = listener;
  };
  const heard: string[] = [];
  onLog((_, line) => heard.push(line));
  say('debug', 'one');
  await Promise.resolve();
  say('debug', 'two');
  onLog(null);
  await Promise.resolve();
  expect(heard).toEqual(['one']);
});

describe('interfaces', () => {
  const eth = { ifindex: 7, name: 'eth7', up: false, hardware: 1 };
  const state: NativeXdpState = { attachMode: 0, skb: 0, drv: 0, hw: 0, features: 0 };

  test.each([0, -1, 1.5, Number.NaN, null])('%s is no interface', (iface) => {
    expect(() => xdpQuery({ iface: iface as never })).toThrow(
      new TypeError(`Expected an interface name or a positive ifindex for iface but received ${iface}`),
    );
  });

  it('is found by name or number, and the error has the nearest names', () => {
    addon.interfaces = () => [eth];
    expect(findInterface({ iface: 7 })).toBe(eth);
    expect(caught(() => findInterface({ iface: 8 }))).toMatchObject({
      message: 'no interface with ifindex 8',
      code: 'ERR_EBPF_NO_INTERFACE',
      hint: 'there are eth7',
    });
    addon.interfaces = () => [];
    const error = caught(() => findInterface({ iface: 'eth8', netns: '/run/netns/x' }));
    expect(error).toMatchObject({ message: 'no interface "eth8" in network namespace /run/netns/x' });
    expect(error).not.toHaveProperty('hint');
  });

  it('cannot be listed', () => {
    addon.interfaces = fails(ENOMEM, 'netlink');
    expect(caught(() => listInterfaces(undefined))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ENOMEM',
      message: "list the interfaces of this process's network namespace: the kernel says ENOMEM",
    });
  });

  it('cannot be asked', () => {
    addon.interfaces = () => [eth];
    addon.xdpQuery = fails(ENODEV, 'netlink');
    expect(caught(() => xdpQuery({ iface: 'eth7' }))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ENODEV',
      target: '7',
      message: expect.stringMatching(/^query XDP on ifindex 7: /),
    });
  });

  it('cannot be set up', () => {
    pretend({ files: NOBODY });
    addon.setInterfaceUp = fails(EPERM, 'netlink');
    const up = () => requireUp('attach', eth, { bringUp: true });
    expect(caught(up)).toMatchObject({ name: 'EbpfPermissionError', missing: ['CAP_NET_ADMIN'] });
    addon.setInterfaceUp = fails(EIO, 'netlink');
    expect(caught(up)).toMatchObject({ name: 'EbpfAttachError', code: 'EIO', target: 'eth7' });
  });

  test('a namespace that is not there has no identity', () => {
    expect(caught(() => netnsIdentity('/not/there'))).toMatchObject({ code: 'ENOENT', target: '/not/there' });
    expect(caught(() => netnsIdentity(12345))).toMatchObject({ code: 'EBADF', target: '12345' });
  });

  test('the holder of a hook: nobody, or who can be named', () => {
    addon.xdpQuery = () => state;
    expect(xdpHolder(7, undefined)).toBeUndefined();
    addon.xdpQuery = () => ({ ...state, skb: 5 });
    addon.links = fails(EPERM);
    addon.programInfo = fails(EPERM);
    expect(xdpHolder(7, undefined)).toEqual({ programId: 5 });
    addon.links = () => [{ id: 3, type: 'xdp', ifindex: 7, programId: 5 }];
    addon.programInfo = () => ({ id: 5, name: 'theirs' }) as never;
    expect(xdpHolder(7, undefined)).toEqual({ programId: 5, linkId: 3, name: 'theirs' });
  });

  test('a question that the kernel refuses has no answer, and a mistake of ours shows', () => {
    expect(tryQuery(fails(EPERM))).toBeUndefined();
    expect(() =>
      tryQuery(() => {
        throw new RangeError('ours');
      }),
    ).toThrow(RangeError);
  });
});

describe('pins', () => {
  const PATH = '/sys/fs/bpf/here';
  const holding = (kind: 'map' | 'program', id: number) => {
    const closed: number[] = [];
    const handle = { info: () => ({ id }), close: () => closed.push(id) };
    addon.openPin = () => ({ kind, handle }) as unknown as NativePin;
    return closed;
  };

  test('the name is checked first', () => {
    expect(() => pinPath('/sys/fs/bpf/..x')).toThrow(/reserves names with a dot/);
    expect(caught(() => pinPath('/sys/fs/bpf/a.b'))).toMatchObject({
      hint: 'use a name without one, such as a_b',
    });
    expect(caught(() => pinPath('/sys/fs/bpf/...'))).toMatchObject({
      hint: 'use a name without one, such as map',
    });
  });

  test('what took a pin’s place stays', () => {
    const closed = holding('map', 8);
    unpin(PATH, 'map', 7);
    unpin(PATH, 'program', 8);
    expect(closed).toEqual([8, 8]);
  });

  test('a pin that is gone meanwhile is no error, and any other failure is', () => {
    const closed = holding('map', 7);
    unpin('/not/there', 'map', 7);
    expect(caught(() => unpin('/proc/self/status', 'map', 7))).toMatchObject({
      message: expect.stringMatching(/^unpin \/proc\/self\/status: E(PERM|ACCES)/),
    });
    expect(closed).toEqual([7, 7]);
    addon.openPin = fails(ENOENT);
    unpin(PATH, 'map', 7);
  });

  test('a pin that cannot be opened is not taken for gone', () => {
    addon.openPin = fails(EIO);
    // ENAMETOOLONG: nobody knows its file system.
    expect(caught(() => unpin(`/${'x'.repeat(300)}/m`, 'map', 7))).toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/^unpin \/x+\/m: the kernel says EIO$/),
    });
  });

  test('EPERM in a BPF file system: a dot in a folder, or CAP_BPF', () => {
    pretend({ files: NOBODY });
    const handle = { pin: fails(EPERM) };
    const folder = `/${'x'.repeat(300)}`; // ENAMETOOLONG: no file system is known
    expect(caught(() => pin(handle, 'map m', `${folder}/a.b/m`))).toMatchObject({
      code: 'ERR_EBPF_PIN_NAME',
      hint: 'the BPF file system has no folders with a dot in their name',
    });
    expect(caught(() => pin(handle, 'map m', `${folder}/m`))).toMatchObject({
      name: 'EbpfPermissionError',
      missing: ['CAP_BPF'],
    });
    expect(caught(() => pin({ pin: fails(EROFS) }, 'map m', `${folder}/m`))).toMatchObject({
      name: 'EbpfError',
      code: 'EROFS',
    });
  });

  test('the wrong kind says which class opens it', () => {
    const closed = holding('program', 4);
    expect(caught(() => openPin(PATH, 'map'))).toMatchObject({
      code: 'ERR_EBPF_PIN_KIND',
      hint: 'BpfProgram.fromPin opens it',
    });
    expect(closed).toEqual([4]);
  });

  test('a query by id', () => {
    pretend({ files: NOBODY });
    expect(byIdFailure('list', nativeFailure(EPERM))).toMatchObject({ missing: ['CAP_SYS_ADMIN'] });
    expect(byIdFailure('list', nativeFailure(ENOENT)).message).toBe('list: there is no such id');
    expect(byIdFailure('list', nativeFailure(ENOMEM)).message).toBe('list: the kernel says ENOMEM');
  });
});

describe('attaching by SEC()', () => {
  const failure = (kind: string, errno: number, log: string[] = []) =>
    attachFailure('attach p', 'p', { kind, target: 'do_exit' }, nativeFailure(errno, 'bpf', log));

  it('without the capabilities', () => {
    pretend({ files: NOBODY });
    for (const errno of [EPERM, constants.errno.EACCES]) {
      expect(failure('kprobe', errno)).toMatchObject({
        name: 'EbpfPermissionError',
        missing: ['CAP_BPF', 'CAP_PERFMON'],
      });
    }
  });

  it('to a function that the kernel has not: with libbpf’s last word', () => {
    expect(failure('kprobe', ENOENT, ['libbpf: first', 'libbpf: no such'])).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ENOENT',
      target: 'do_exit',
      hint: 'no such',
    });
  });

  const SOURCES = '/sys/bus/event_source/devices';
  const TYPE = `${SOURCES}/kprobe/type`;
  const RETURN = `${SOURCES}/kprobe/format/retprobe`;
  const SOFTWARE = `${SOURCES}/software/type`;
  it.each([
    ['no kprobes', { [TYPE]: fileFailure('ENOENT', TYPE), [SOFTWARE]: '1\n' }, 'kprobes'],
    [
      'no sysfs',
      { [TYPE]: fileFailure('ENOENT', TYPE), [SOFTWARE]: fileFailure('ENOENT', SOFTWARE) },
      'sysfs',
    ],
  ])('a kernel with %s', (_, files, feature) => {
    pretend({ files });
    expect(caught(() => probeKind('attach p', 'kprobe', false))).toMatchObject({
      name: 'EbpfNotSupportedError',
      feature,
      hint: expect.any(String),
    });
  });

  it('a kernel with kprobes', () => {
    pretend({ files: { [TYPE]: '6\n', [RETURN]: 'config:3\n' } });
    expect(probeKind('attach p', 'kprobe', false)).toEqual({ pmu: 6, returnBit: undefined });
    expect(probeKind('attach p', 'kprobe', true)).toEqual({ pmu: 6, returnBit: 3 });
  });

  it.each([
    ['kprobe.multi', EOPNOTSUPP, '5.18'],
    ['uprobe.multi', 524, '6.6'],
    ['iter', EOPNOTSUPP, '5.8'],
    ['tcp_congestion_ops', EOPNOTSUPP, undefined],
  ])('a kernel that cannot do %s (%i)', (kind, errno, minKernel) => {
    const error = failure(kind, errno);
    expect(error).toMatchObject({ name: 'EbpfNotSupportedError', feature: kind, errno });
    expect((error as { minKernel?: string }).minKernel).toBe(minKernel);
  });
});

test('a tracepoint whose number may not be read', () => {
  const root = '/sys/kernel/tracing';
  const file = `${root}/events/sched/x/id`;
  pretend({ fileSystems: { [root]: 0x74726163 }, files: { [file]: fileFailure('EACCES', file) } });
  expect(caught(() => tracepointNumber('attach', 'sched', 'x'))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EACCES',
    target: 'sched/x',
  });
});

describe('a dry run', () => {
  const source = { bytes: new Uint8Array(1), name: 'made', place: 'made.bpf.o' };
  const program = { name: 'p', section: 'xdp', type: 'xdp' };
  const verifier = (text: string) =>
    `libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n${text}-- END PROG LOAD LOG --`;

  async function outcome(failure: Error | undefined, log: string[], remaining = 0) {
    addon.dryRun = async () => ({ ...(failure ? { failure } : {}), log, remaining });
    return dryRun(source, [program, { ...program, name: 'q' }]);
  }

  it('tells what is still there, and a verdict without a log', async () => {
    const { verdicts, findings } = await outcome(undefined, [], 2);
    expect(verdicts[0]).toEqual({ program: 'p', ok: true, processed: 0, peakStates: 0, stackDepth: 0 });
    expect(findings[0]).toMatchObject({
      rule: 'dry-run-remaining',
      place: 'made.bpf.o, section xdp, program p',
      message: '2 programs and maps are still there',
    });
  });

  it('stops where something forbids it to who has every capability', async () => {
    pretend({ files: { ...ROOT, '/sys/kernel/security/lockdown': '[none]' } });
    addon.refusals = () => ({ command: EINVAL, map: EPERM });
    const { verdicts, findings } = await outcome(nativeFailure(EPERM), []);
    expect(verdicts).toEqual([]);
    expect(findings).toMatchObject([
      {
        rule: 'dry-run-permission',
        message: 'the kernel says EPERM',
        remedy: expect.stringContaining('security module'),
      },
    ]);
  });

  it('has the place of a refusal as far as the log tells', async () => {
    const bare = await outcome(nativeFailure(EINVAL), [verifier('unknown opcode 8d\n')]);
    expect(bare.findings[0]).toMatchObject({
      rule: 'verifier-refused',
      place: 'made.bpf.o, section xdp, program p',
      message: 'unknown opcode 8d',
    });
    const log =
      '; int x = 1; @ made.bpf.c:3\n0: (61) r1 = 0\nR1 invalid\nprocessed 1 insns (limit 1) peak_states 0\n';
    const placed = await outcome(nativeFailure(constants.errno.EACCES), [verifier(log)]);
    expect(placed.findings[0]?.place).toBe(
      'made.bpf.o, section xdp, program p, instruction 0 (made.bpf.c:3)',
    );
    expect(placed.verdicts[0]).toMatchObject({ ok: false, processed: 1, log });
  });

  it('has the kernel’s words where libbpf has none', async () => {
    const { findings, verdicts } = await outcome(nativeFailure(ENOMEM), ['libbpf: something else']);
    expect(findings).toMatchObject([
      { rule: 'dry-run-failed', message: 'the kernel says ENOMEM' },
      { rule: 'dry-run-failed' },
    ]);
    expect(verdicts[0]).not.toHaveProperty('log');
  });

  it('takes a verifier’s "prohibited" for what it is with every capability', async () => {
    pretend({ files: ROOT });
    const log = [verifier('R1 pointer arithmetic prohibited\n')];
    const { findings } = await outcome(nativeFailure(constants.errno.EACCES), log);
    expect(findings[0]).toMatchObject({
      rule: 'verifier-refused',
      message: 'R1 pointer arithmetic prohibited',
    });
  });
});

describe('what native code found', () => {
  it('is told even where it is no rule that is known', () => {
    expect(refusalFinding('a.o', { rule: 'elf-new', message: 'words', log: [] })).toMatchObject({
      rule: 'elf-new',
      level: 'error',
      place: 'a.o',
      message: 'words',
    });
  });

  it('says how many relocations were left', () => {
    expect(typeFindings('a.o', { refusals: [], coreUnresolved: 3 })).toMatchObject([
      { rule: 'core-unresolved', message: '3 CO-RE relocations were not resolved' },
    ]);
  });
});

test('the nearest names come first', () => {
  const names = ['bytes', 'pack', 'packets', 'packet_count', 'racket', ''];
  expect(nearest('packet', names, 3)).toEqual(['packets', 'racket', 'pack']);
  expect(nearest('', ['abc', 'a'])).toEqual(['a', 'abc']);
  expect(nearest('x', [])).toEqual([]);
});

test('a load that is given up while the kernel works closes what it made', async () => {
  const controller = new AbortController();
  let closed = 0;
  addon.loadObject = async () => {
    controller.abort();
    return { close: () => closed++ } as never;
  };
  const loading = loadObject(testObject('pass'), { signal: controller.signal });
  expect(await rejection(loading)).toMatchObject({ name: 'AbortError' });
  expect(closed).toBe(1);
});

test('an object that loads and cannot be described is closed, with all that is in it', () => {
  const closed: string[] = [];
  const handle = (name: string) => ({ close: () => closed.push(name), describe: fails(EIO) });
  const programs = () => [handle('program')];
  addon.loadObjectSync = () =>
    ({ ...handle('object'), log: () => [], programs, maps: () => [handle('map')] }) as never;
  expect(caught(() => loadObjectSync(testObject('pass')))).toMatchObject({
    name: 'EbpfLoadError',
    code: 'EIO',
  });
  expect(closed).toEqual(['map', 'program', 'object']);
});
