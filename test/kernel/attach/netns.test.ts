import { closeSync, openSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect } from 'vitest';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { BpfProgram } from '../../../lib/program/program.ts';
import { Bpffs } from '../../helpers/bpffs.ts';
import { caught } from '../../helpers/caught.ts';
import { kernelIsAtLeast, testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  linksOf,
  type Snapshot,
  snapshotIds,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';
import { until } from '../../helpers/until.ts';

const path = testObject('namespace');
const [LOOKUP, DISSECT, NETFILTER] = [0, 1, 2] as const;
const NETFILTERS = { programs: { on_netfilter: { load: true } } };

let before: Snapshot;
let object: BpfObject;
beforeAll(async () => {
  before = snapshotIds(['on_lookup', 'on_dissect', 'on_netfilter', 'asked']);
  object = await loadObject(path);
});
afterAll(async () => {
  object.close();
  await assertNothingLeft(before);
});

const count = (row: number, of = object) =>
  Number(new DataView((of.map('asked').get(row) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));
const open = () => fdCount(process.pid, /bpf|net:/);

const CONNECT = `
import socket, sys
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(int(sys.argv[1])):
    socket.create_connection(listener.getsockname()).close()
    listener.accept()[0].close()
`;
const connect = (netns: Netns, times: number) => netns.exec('/usr/bin/python3', ['-c', CONNECT, `${times}`]);

const SEND = `
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', 0))
for _ in range(int(sys.argv[1])):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b'x', receiver.getsockname())
    receiver.recv(1)
`;
const send = (netns: Netns, times: number) => netns.exec('/usr/bin/python3', ['-c', SEND, `${times}`]);

function namespace(): Netns {
  const netns = createNetns();
  netns.upLoopback();
  return netns;
}

/** What bpftool says of the program's links. */
const shown = (id: number) => linksOf([id]).map((link) => bpftool('link', 'show', 'id', `${link}`));

testWith('sk_lookup')('sk_lookup is asked for each connection of its namespace, and of no other', () => {
  using netns = namespace();
  using other = namespace();
  const program = object.program('on_lookup');
  const fds = open();
  const link = program.attachNetns(netns.path);
  expect(open()).toBe(fds + 1);
  expect(link).toMatchObject({ kind: 'netns', target: netns.path, owner: 'fd' });
  expect(link.state()).toBe('attached');
  expect(shown(program.id)).toMatchObject([{ id: link.id, type: 'netns', attach_type: 'sk_lookup' }]);
  const from = count(LOOKUP);
  connect(other, 3);
  expect(count(LOOKUP)).toBe(from);
  connect(netns, 12);
  // Each handshake's first packet looks for a listener.
  expect(count(LOOKUP) - from).toBeGreaterThanOrEqual(12);
  link.detach();
  const detached = count(LOOKUP);
  connect(netns, 3);
  expect(count(LOOKUP)).toBe(detached);
  expect(shown(program.id)).toEqual([]);
  expect(open()).toBe(fds);
});

testWith('sk_lookup')('by descriptor, from a pin; a namespace that goes detaches', async () => {
  using bpffs = new Bpffs();
  const netns = namespace();
  object.program('on_lookup').pin(bpffs.at('program'));
  using again = BpfProgram.fromPin(bpffs.at('program'));
  const fd = openSync(netns.path, 'r');
  const link = again.attachNetns(fd);
  closeSync(fd);
  expect(link.target).toBe(`descriptor ${fd}`);
  const from = count(LOOKUP);
  connect(netns, 2);
  expect(count(LOOKUP)).toBeGreaterThan(from);
  netns.close();
  await until(() => link.state() === 'detached');
  link.close();
});

testWith('sk_lookup')('a flow dissector, of which a namespace has one', async () => {
  using netns = namespace();
  const veth = netns.addVeth();
  using other = await loadObject(path);
  const program = object.program('on_dissect');
  const link = program.attachNetns(netns.path);
  expect(shown(program.id)).toMatchObject([{ id: link.id, type: 'netns', attach_type: 'flow_dissector' }]);
  const refused = caught(() => other.program('on_dissect').attachNetns(netns.path));
  expect(refused).toMatchObject({
    name: 'EbpfAttachError',
    code: expect.stringMatching(/EEXIST|E2BIG|EBUSY/),
  });
  expect(link.state()).toBe('attached');
  // A packet that a raw socket sends is dissected to find its network header.
  const RAW = `
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0))
for _ in range(int(sys.argv[2])):
    sender.send(bytes(12) + b'\\x08\\x00' + b'\\x45' + bytes(45))
`;
  const raw = (times: number) => netns.exec('/usr/bin/python3', ['-c', RAW, veth.a.name, `${times}`]);
  const from = count(DISSECT);
  raw(5);
  expect(count(DISSECT) - from).toBeGreaterThanOrEqual(5);
  link.detach();
  const detached = count(DISSECT);
  raw(5);
  expect(count(DISSECT)).toBe(detached);
});

testWith('sk_lookup')('what is no network namespace, and other programs', async () => {
  using traced = await loadObject(testObject('traced'));
  const program = object.program('on_lookup');
  const fds = open();
  const attach = (netns: unknown) => caught(() => program.attachNetns(netns as string));
  expect(attach('/no/such/namespace')).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
  expect(attach('/proc/self/ns/mnt')).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EINVAL',
    hint: expect.stringContaining('not a network namespace'),
  });
  expect(attach(100_000)).toMatchObject({
    name: 'EbpfAttachError',
    code: expect.stringMatching(/EBADF|EINVAL/),
  });
  for (const netns of [undefined, -1, 1.5, {}]) expect(attach(netns)).toBeInstanceOf(TypeError);
  expect(caught(() => traced.program('raw_enter').attachNetns('/proc/self/ns/net'))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => program.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachNetns'),
  });
  expect(open()).toBe(fds);
});

testWith('netfilter')('a netfilter hook sees the packets of its family, from attach to detach', async () => {
  using netns = namespace();
  using own = await loadObject(path, NETFILTERS);
  const program = own.program('on_netfilter');
  const fds = open();
  const hook = { pf: 'ipv4', hooknum: 'local_in', priority: -128, netns: netns.path } as const;
  const link = program.attachNetfilter(hook);
  expect(open()).toBe(fds + 1);
  expect(link).toMatchObject({ kind: 'netfilter', target: 'ipv4 local_in at -128' });
  expect(link.state()).toBe('attached');
  const netfilters = netns.exec('bpftool', ['-j', 'net']);
  expect(JSON.parse(netfilters)[0].netfilter ?? [{ prog_id: program.id }]).toMatchObject([
    { prog_id: program.id },
  ]);
  expect(linksOf([program.id])).toEqual([link.id]);
  const from = count(NETFILTER, own);
  send(netns, 40);
  expect(count(NETFILTER, own) - from).toBe(40);
  // The priority is taken, there and nowhere else.
  expect(caught(() => program.attachNetfilter(hook))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EBUSY',
    hint: expect.stringContaining('priority'),
  });
  using beside = program.attachNetfilter({ ...hook, hooknum: 'local_out', priority: -127 });
  send(netns, 10);
  expect(count(NETFILTER, own) - from).toBe(60);
  beside.close();
  link.detach();
  send(netns, 10);
  expect(count(NETFILTER, own) - from).toBe(60);
  expect(open()).toBe(fds);
});

/** Whether the kernel puts fragments together for who asks: built in, or loaded. */
const defragments = () => readFileSync('/proc/kallsyms', 'latin1').includes(' nf_defrag_ipv4_enable');

testWith('netfilter')('whole packets (6.6), a program from an id, and bad arguments', async () => {
  using netns = namespace();
  using own = await loadObject(path, NETFILTERS);
  using again = BpfProgram.fromId(own.program('on_netfilter').id);
  const hook = { pf: 'ipv4', hooknum: 'pre_routing', priority: 0, netns: netns.path } as const;
  const seen = (): number => {
    using _ = again.attachNetfilter({ ...hook, defrag: true });
    const from = count(NETFILTER, own);
    send(netns, 3);
    return count(NETFILTER, own) - from;
  };
  if (kernelIsAtLeast('6.6') && defragments()) expect(seen()).toBe(3);
  else expect(caught(seen)).toMatchObject({ name: 'EbpfNotSupportedError', feature: 'netfilter defrag' });
  const fds = open();
  const attach = (options: object) => caught(() => again.attachNetfilter({ ...hook, ...options } as never));
  expect(attach({ pf: 'arp' })).toBeInstanceOf(TypeError);
  expect(attach({ pf: 'toString' })).toBeInstanceOf(TypeError);
  expect(attach({ hooknum: 'ingress' })).toBeInstanceOf(TypeError);
  for (const priority of [2 ** 31 - 1, -(2 ** 31), 0.5, undefined])
    expect(attach({ priority })).toBeInstanceOf(RangeError);
  expect(attach({ netns: '/no/such/namespace' })).toMatchObject({ name: 'EbpfAttachError', code: 'ENOENT' });
  expect(caught(() => object.program('on_lookup').attachNetfilter(hook))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(open()).toBe(fds);
});
