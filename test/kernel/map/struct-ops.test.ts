import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { BpfMap } from '../../../lib/map/map.ts';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { endChildren, runModule } from '../../helpers/child.ts';
import { testWith } from '../../helpers/features.ts';
import {
  assertNothingLeft,
  bpftool,
  fdCount,
  type Snapshot,
  snapshotIds,
  untilGone,
} from '../../helpers/kernel.ts';
import { createNetns, type Netns } from '../../helpers/netns.ts';
import { testObject } from '../../helpers/objects.ts';

let before: Snapshot;
beforeAll(() => {
  before = snapshotIds([
    'on_init',
    'on_ssthresh',
    'on_cong_avoid',
    'on_undo_cwnd',
    'kept',
    'linked',
    'started',
  ]);
});
afterEach(endChildren);
afterAll(() => assertNothingLeft(before));

const KINDS = [
  { file: 'congestion', map: 'kept', name: 'node_ebpf_kept', owner: 'map', feature: 'struct_ops' },
  { file: 'congestion_link', map: 'linked', name: 'node_ebpf_link', owner: 'fd', feature: 'struct_ops.link' },
] as const;

/** The TCP congestion controls that the kernel has now; every namespace has its own view of the setting alone. */
const controls = () =>
  readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'latin1').trim().split(' ');

const CONNECT = `
import socket, sys
listener = socket.create_server(('127.0.0.1', 0))
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[1].encode())
client.connect(listener.getsockname())
served = listener.accept()[0]
client.sendall(b'x' * 1000)
got = 0
while got < 1000: got += len(served.recv(1000))
`;
const connect = (netns: Netns, control: string) => netns.exec('/usr/bin/python3', ['-c', CONNECT, control]);
const started = (object: BpfObject) =>
  Number(new DataView((object.map('started').get(0) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));

for (const { file, map, name, owner, feature } of KINDS) {
  testWith(feature)(`${file}: connections take it from attach to detach`, async () => {
    using netns = createNetns();
    netns.upLoopback();
    using object = await loadObject(testObject(file));
    const fds = fdCount(process.pid, /bpf/);
    expect(controls()).not.toContain(name);
    const link = object.map(map).attach();
    expect(link).toMatchObject({ kind: 'struct_ops', owner, target: `map ${map}` });
    expect(link.state()).toBe('attached');
    expect(controls()).toContain(name);
    if (owner === 'fd') {
      expect(bpftool('link', 'show', 'id', `${link.id}`)).toMatchObject({ id: link.id });
    }
    connect(netns, name);
    expect(started(object)).toBe(1);
    expect(caught(() => object.map(map).attach())).toMatchObject({ name: 'EbpfAttachError' });
    expect(link.state()).toBe('attached');
    link.detach();
    expect(controls()).not.toContain(name);
    expect(caught(() => connect(netns, name))).toMatchObject({
      message: expect.stringContaining('No such file'),
    });
    expect(started(object)).toBe(1);
    expect(fdCount(process.pid, /bpf/)).toBe(fds);
  });

  testWith(feature)(
    `${file}: attachAll() takes it in, and it goes with its object and its process`,
    async () => {
      const object = await loadObject(testObject(file));
      expect(object.attachAll().map(({ kind }) => kind)).toEqual(['struct_ops']);
      expect(controls()).toContain(name);
      object.close();
      expect(controls()).not.toContain(name);
      for (const end of ['process.exit(0)', 'process.exitCode = 0']) {
        const child = runModule(
          `const object = await ebpf.loadObject(${JSON.stringify(testObject(file))});
         globalThis.link = object.map(${JSON.stringify(map)}).attach();
         console.log(object.map(${JSON.stringify(map)}).id);
         await new Promise((resolve) => process.stdin.once('data', resolve));
         process.stdin.destroy();
         ${end};`,
        );
        const id = Number(await child.line());
        expect(controls()).toContain(name);
        child.process.stdin?.write('\n');
        expect(await child.ended()).toMatchObject({ status: 0, stderr: '' });
        expect(controls()).not.toContain(name);
        await untilGone({ maps: [id] });
      }
    },
  );
}

testWith('struct_ops')('two of one name, a map of another type, one from an id', async () => {
  using object = await loadObject(testObject('congestion'));
  using other = await loadObject(testObject('congestion'));
  const fds = fdCount(process.pid, /bpf/);
  const link = object.map('kept').attach();
  expect(caught(() => other.map('kept').attach())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EEXIST',
    hint: expect.stringContaining('same name'),
  });
  expect(link.state()).toBe('attached');
  link.close();
  expect(caught(() => object.map('started').attach())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'ERR_EBPF_MAP_TYPE',
  });
  using opened = BpfMap.fromId(object.map('kept').id);
  expect(caught(() => opened.attach())).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EOPNOTSUPP',
    hint: expect.stringContaining('process that loads it'),
  });
  opened.close();
  expect(fdCount(process.pid, /bpf/)).toBe(fds);
});
