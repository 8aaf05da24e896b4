import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { EbpfStateError } from '../../../lib/core/errors.ts';
import { BpfLink } from '../../../lib/link/link.ts';
import { EbpfLoader } from '../../../lib/loader/loader.ts';
import type { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { ProgramType } from '../../../lib/object-file/program-type.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { caught } from '../../helpers/caught.ts';
import { Cgroup } from '../../helpers/cgroup.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  linkIds,
  type Snapshot,
  snapshotIds,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';
import { PYTHON } from '../../helpers/send.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
let object: BpfObject;
beforeAll(async () => {
  before = snapshotIds();
  object = await loadObject(testObject('cgroup'));
});
afterEach(endChildren);
afterAll(async () => {
  object.close();
  await assertNothingLeft(before);
});

const [INGRESS, EGRESS, EITHER, CONNECT] = [0, 1, 2, 3] as const;

function seen(map: BpfMap, row: number): number {
  return Number(new DataView((map.get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));
}

// A process of the cgroup sends datagrams to itself: each is one packet out and one in.
const SEND = `
import socket, sys
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(receiver.getsockname())
for _ in range(int(sys.argv[2])):
    sender.send(b'x')
    receiver.recv(1)
`;

function send(netns: Netns, cgroup: string, datagrams: number): void {
  // ip netns exec mounts a sysfs of its own, without the cgroups.
  const command = [`--net=${netns.path}`, '/usr/bin/python3', '-c', SEND, cgroup, `${datagrams}`];
  execFileSync('nsenter', command, { stdio: ['ignore', 'pipe', 'pipe'] });
}

const CGROUP_QUERY = fileURLToPath(new URL('../../helpers/cgroup_query.py', import.meta.url));
function attachedTo(path: string): number[] {
  return JSON.parse(execFileSync(PYTHON, ['-S', '-E', CGROUP_QUERY, path], { encoding: 'utf8' })) as number[];
}

test('counts the packets of the cgroup exactly, of nobody else, in and out', () => {
  using netns = createNetns();
  netns.upLoopback();
  using cgroup = new Cgroup();
  using other = new Cgroup();
  const counts = object.map('counts');
  const from = [INGRESS, EGRESS, CONNECT].map((row) => seen(counts, row));
  const since = () => [INGRESS, EGRESS, CONNECT].map((row, i) => seen(counts, row) - (from[i] ?? 0));
  const fds = fdCount();
  const links = ['count_ingress', 'count_egress', 'count_connect'].map((name) =>
    object.program(name).attachCgroup(cgroup.path),
  );
  expect(fdCount()).toBe(fds + 3);
  expect(links[0]).toMatchObject({ kind: 'cgroup', owner: 'fd' });
  expect(links.map((link) => link.state())).toEqual(['attached', 'attached', 'attached']);
  expect(new Set(attachedTo(cgroup.path))).toEqual(
    new Set(['count_ingress', 'count_egress', 'count_connect'].map((name) => object.program(name).id)),
  );
  send(netns, other.path, 5);
  expect(since()).toEqual([0, 0, 0]);
  send(netns, cgroup.path, 321);
  expect(since()).toEqual([321, 321, 1]);
  for (const link of links) link.detach();
  expect(attachedTo(cgroup.path)).toEqual([]);
  send(netns, cgroup.path, 5);
  expect(since()).toEqual([321, 321, 1]);
  expect(fdCount()).toBe(fds);
});

test('SEC("cgroup/skb") and a program from an id need attachType', () => {
  using netns = createNetns();
  netns.upLoopback();
  using cgroup = new Cgroup();
  const either = object.program('count_either');
  const refused = { code: 'ERR_EBPF_NO_TARGET', hint: expect.stringContaining('cgroup_inet_egress') };
  expect(caught(() => either.attachCgroup(cgroup.path))).toMatchObject(refused);
  using again = BpfProgram.fromId(object.program('count_egress').id);
  expect(caught(() => again.attachCgroup(cgroup.path))).toMatchObject(refused);
  const from = seen(object.map('counts'), EITHER);
  using link = either.attachCgroup(cgroup.path, { attachType: 'cgroup_inet_egress' });
  send(netns, cgroup.path, 7);
  expect(seen(object.map('counts'), EITHER) - from).toBe(7);
  link.close();
  using _ = again.attachCgroup(cgroup.path, { attachType: 'cgroup_inet_egress' });
  expect(attachedTo(cgroup.path)).toEqual([again.id]);
  const connect = object.program('count_connect');
  expect(caught(() => connect.attachCgroup(cgroup.path, { attachType: 'cgroup_inet4_bind' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: expect.stringContaining('attachType'),
  });
  expect(caught(() => again.attachCgroup(cgroup.path, { attachType: 'egress' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
  });
});

test('of the loader’s programs: unloading detaches', async () => {
  using cgroup = new Cgroup();
  await using loader = new EbpfLoader();
  const options = { program: 'count_egress' };
  const handle = await loader.loadProgram(testObject('cgroup'), ProgramType.CGROUP_SKB, options);
  const program = loader.getProgram(handle)?.program;
  const link = program?.attachCgroup(cgroup.path);
  expect(attachedTo(cgroup.path)).toEqual([program?.id]);
  await loader.unloadProgram(handle);
  expect(attachedTo(cgroup.path)).toEqual([]);
  expect(caught(() => link?.state())).toBeInstanceOf(EbpfStateError);
});

test('update, and who else is there stays', () => {
  using netns = createNetns();
  netns.upLoopback();
  using cgroup = new Cgroup();
  const egress = object.program('count_egress');
  using theirs = egress.attachCgroup(cgroup.path);
  using ours = object.program('count_either').attachCgroup(cgroup.path, { attachType: 'cgroup_inet_egress' });
  const from = seen(object.map('counts'), EITHER);
  send(netns, cgroup.path, 3);
  expect(seen(object.map('counts'), EITHER) - from).toBe(3);
  ours.update(egress);
  expect(ours.state()).toBe('attached');
  send(netns, cgroup.path, 3);
  expect(seen(object.map('counts'), EITHER) - from).toBe(3);
  ours.close();
  expect(theirs.state()).toBe('attached');
  expect(attachedTo(cgroup.path)).toEqual([egress.id]);
});

test('a cgroup that is removed detaches', async () => {
  using cgroup = new Cgroup();
  const link = object.program('count_egress').attachCgroup(cgroup.path);
  expect(BpfLink.list()).toContainEqual(expect.objectContaining({ id: link.id, kind: 'cgroup' }));
  cgroup.remove();
  await until(() => link.state() === 'detached'); // the kernel frees it some milliseconds later
  link.close();
  expect(linkIds().has(link.id ?? 0)).toBe(false);
});

test('a path that is no cgroup v2 folder, and programs that go elsewhere', async () => {
  using cgroup = new Cgroup();
  const egress = object.program('count_egress');
  const fds = fdCount();
  expect(caught(() => egress.attachCgroup(`${cgroup.path}x`))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_CGROUP',
    message: expect.stringContaining('no such folder'),
    hint: expect.stringContaining(cgroup.path.split('/').at(-1) ?? ''),
  });
  const folder = mkdtempSync(join(tmpdir(), 'node-ebpf-folder-'));
  for (const path of [folder, `${cgroup.path}/cgroup.procs`]) {
    expect(caught(() => egress.attachCgroup(path))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'ERR_EBPF_NO_CGROUP',
      message: expect.stringContaining('cgroup v2'),
      hint: expect.stringContaining('are cgroups'),
    });
  }
  rmdirSync(folder);
  expect(caught(() => egress.attachCgroup(7 as never))).toBeInstanceOf(TypeError);
  using xdp = await loadObject(testObject('pass'));
  expect(caught(() => xdp.program('pass').attachCgroup(cgroup.path))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => egress.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachCgroup'),
  });
  xdp.close();
  expect(fdCount()).toBe(fds);
});

test('a cgroup above that allows none below', () => {
  using cgroup = new Cgroup();
  const { id } = object.program('count_egress');
  // bpftool attaches without BPF_F_ALLOW_MULTI here.
  bpftool('cgroup', 'attach', cgroup.path, 'cgroup_inet_egress', 'id', `${id}`);
  try {
    expect(caught(() => object.program('count_egress').attachCgroup(cgroup.path))).toMatchObject({
      name: 'EbpfAttachError',
      code: 'EPERM',
      hint: expect.stringContaining(`program that allows none below`),
    });
  } finally {
    bpftool('cgroup', 'detach', cgroup.path, 'cgroup_inet_egress', 'id', `${id}`);
  }
});

test.each([
  ['CAP_NET_ADMIN', '-all,+bpf'],
  ['CAP_BPF', '-all,+net_admin'],
])('without %s the error names exactly it', async (capability, bounding) => {
  using cgroup = new Cgroup();
  // The rest of the object loads without CAP_NET_ADMIN.
  const body = `
    try {
      const object = await ebpf.loadObject(${JSON.stringify(testObject('cgroup'))},
        { programs: { count_connect: { load: false } } });
      object.program('count_egress').attachCgroup(${JSON.stringify(cgroup.path)});
    } catch ({ name, missing }) { console.log(JSON.stringify({ name, missing })); }`;
  const child = runModule(body, { prefix: ['setpriv', `--bounding-set=${bounding}`] });
  const { stdout, stderr } = await child.ended();
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({ name: 'EbpfPermissionError', missing: [capability] });
});
