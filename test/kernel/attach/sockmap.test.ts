import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { kernelBefore } from '../../../lib/kernel/release.ts';
import type { BpfLink } from '../../../lib/link/link.ts';
import type { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught } from '../../helpers/caught.ts';
import { Cgroup } from '../../helpers/cgroup.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  linksOf,
  type Snapshot,
  snapshotIds,
  untilGone,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';

const path = testObject('sockets');
const [CONNECTED, SENT, RECEIVED] = [0, 1, 2] as const;

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds(['on_sockops', 'on_msg', 'on_verdict', 'on_parser', 'sockets']);
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const count = (map: BpfMap, row: number) =>
  Number(new DataView((map.get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));

// A process of the cgroup connects to another that is not, sends some bytes and gets some.
const TALK = `
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
if os.fork() == 0:
    served = listener.accept()[0]
    got = 0
    while got < int(sys.argv[2]): got += len(served.recv(65536))
    served.sendall(b'y' * int(sys.argv[3]))
    served.recv(1)
    sys.exit(0)
open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))
client = socket.create_connection(listener.getsockname())
client.sendall(b'x' * int(sys.argv[2]))
got = 0
while got < int(sys.argv[3]): got += len(client.recv(65536))
client.close()
os.wait()
`;
function talk(netns: Netns, cgroup: Cgroup, sent: number, received: number): void {
  const python = ['/usr/bin/python3', '-c', TALK, cgroup.path, `${sent}`, `${received}`];
  execFileSync('nsenter', [`--net=${netns.path}`, ...python], { stdio: ['ignore', 'pipe', 'pipe'] });
}

describe('programs of a map that sockops fills', () => {
  const PROGRAMS = ['on_msg', 'on_parser', 'on_verdict'] as const;
  let object: BpfObject;
  let cgroup: Cgroup;
  let netns: Netns;
  let fds: number;
  let sockops: BpfLink;
  beforeEach(async () => {
    netns = createNetns();
    netns.upLoopback();
    cgroup = new Cgroup();
    object = await loadObject(path);
    fds = fdCount(process.pid, /bpf/);
    sockops = object.program('on_sockops').attachCgroup(cgroup.path);
  });
  afterEach(() => {
    object?.close();
    cgroup?.[Symbol.dispose]();
    netns?.[Symbol.dispose]();
  });
  const attach = (name: (typeof PROGRAMS)[number]) =>
    object.program(name).attachSockmap(object.map('sockets'));
  const counts = (...rows: number[]) => rows.map((row) => count(object.map('passed'), row));

  test('each is attached, and detached', () => {
    expect(sockops).toMatchObject({ kind: 'cgroup' });
    for (const name of PROGRAMS) {
      const link = attach(name);
      expect(link).toMatchObject({ kind: 'sockmap', target: 'map sockets' });
      expect(link.owner).toBe(kernelBefore('6.10') ? 'map' : 'fd');
      expect(link.state()).toBe('attached');
      if (!kernelBefore('6.10')) {
        const { id } = object.program(name);
        expect(linksOf([id])).toEqual([link.id]);
        expect(bpftool('link', 'show', 'id', `${link.id}`)).toMatchObject({ prog_id: id });
      }
      link.detach();
      expect(linksOf([object.program(name).id])).toEqual([]);
    }
    sockops.detach();
    expect(fdCount(process.pid, /bpf/)).toBe(fds);
  });

  test('sk_msg sees what is sent', () => {
    const link = attach('on_msg');
    talk(netns, cgroup, 1000, 3000);
    expect(counts(CONNECTED, SENT)).toEqual([1, 1000]);
    link.detach();
    talk(netns, cgroup, 1000, 3000);
    expect(counts(CONNECTED, SENT)).toEqual([2, 1000]);
    sockops.detach();
    talk(netns, cgroup, 1, 1);
    expect(counts(CONNECTED)).toEqual([2]);
  });

  testWith('sk_skb parsers that do not hang it')('sk_skb sees what comes, and sk_msg what is sent', () => {
    const links = PROGRAMS.map(attach);
    talk(netns, cgroup, 1000, 3000);
    expect(counts(CONNECTED, SENT, RECEIVED)).toEqual([1, 1000, 3000]);
    for (const link of links) link.detach();
    talk(netns, cgroup, 1000, 3000);
    expect(counts(CONNECTED, SENT, RECEIVED)).toEqual([2, 1000, 3000]);
  });
});

test('a map has one program of each kind, which stays', async () => {
  using object = await loadObject(path);
  using other = await loadObject(path);
  const map = object.map('sockets');
  const link = object.program('on_msg').attachSockmap(map);
  const attach = () => other.program('on_msg').attachSockmap(map);
  // Before 5.17 nobody can ask whether there is one.
  if (!kernelBefore('5.17')) {
    expect(caught(attach)).toMatchObject({
      name: 'EbpfAttachError',
      code: expect.stringMatching(/EBUSY|EEXIST/),
      hint: expect.stringContaining('detach it first'),
    });
  }
  expect(link.state()).toBe('attached');
  link.update(other.program('on_msg'));
  expect(link.state()).toBe('attached');
  link.detach();
  const again = attach();
  expect(again.state()).toBe('attached');
  again.close();
});

test('a program from a pin, and bad arguments', async () => {
  using bpffs = new Bpffs();
  using object = await loadObject(path);
  object.program('on_verdict').pin(bpffs.at('verdict'));
  using pinned = BpfProgram.fromPin(bpffs.at('verdict'));
  const map = object.map('sockets');
  const fds = fdCount(process.pid, /bpf/);
  expect(caught(() => pinned.attachSockmap(map))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachType'),
  });
  const link = pinned.attachSockmap(map, { attachType: 'sk_skb_stream_verdict' });
  expect(link.state()).toBe('attached');
  link.close();
  expect(caught(() => pinned.attachSockmap(map, { attachType: 'xdp' }))).toMatchObject({
    name: 'EbpfAttachError',
  });
  expect(caught(() => pinned.attachSockmap(map, { attachType: 'nothing' }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
  });
  expect(caught(() => object.program('on_msg').attachSockmap(object.map('passed')))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_MAP_TYPE',
  });
  expect(caught(() => object.program('on_sockops').attachSockmap(map))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
    hint: expect.stringContaining('attachCgroup'),
  });
  expect(caught(() => object.program('on_msg').attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachSockmap'),
  });
  expect(fdCount(process.pid, /bpf/)).toBe(fds);
});

test('a process that exits takes its program off a map that others keep', async () => {
  using bpffs = new Bpffs();
  using object = await loadObject(path);
  object.map('sockets').pin(bpffs.at('sockets'));
  const child = runModule(
    `const object = await ebpf.loadObject(${JSON.stringify(path)});
     const map = ebpf.BpfMap.fromPin(${JSON.stringify(bpffs.at('sockets'))});
     const link = object.program('on_msg').attachSockmap(map);
     console.log(object.program('on_msg').id + ' ' + link.state());
     process.exit(0);`,
  );
  const [id, state] = (await child.line()).split(' ');
  expect(state).toBe('attached');
  await child.ended();
  await untilGone({ programs: [Number(id)] });
});
