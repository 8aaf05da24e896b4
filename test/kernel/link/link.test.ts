import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { assertNothingLeft, type Snapshot, snapshotIds, xdpOf } from '../../helpers/kernel.ts';
import { createNetns, type Netns, type Veth } from '../../helpers/netns.ts';
import { shippedObject, testObject } from '../../helpers/objects.ts';

let before: Snapshot;
let netns: Netns;
let veth: Veth;
let ours: BpfObject;
let foreign: BpfObject;

beforeAll(() => {
  before = snapshotIds();
});
beforeEach(async () => {
  netns = createNetns();
  veth = netns.addVeth();
  ours = await loadObject(shippedObject('xdp_counter'));
  foreign = await loadObject(testObject('pass'));
});
afterEach(() => {
  ours.close();
  foreign.close();
  netns.close();
});
afterAll(() => assertNothingLeft(before));

const counter = () => ours.program('xdp_counter');
const pass = () => foreign.program('pass');
const at = () => ({ iface: veth.b.name, netns: netns.path });
const attachedId = () => xdpOf(netns, veth.b.name).programId;

test('update swaps the program; state tells what the kernel has', () => {
  using link = counter().attachXdp(at());
  expect(link.state()).toBe('attached');
  link.update(pass());
  expect(attachedId()).toBe(pass().id);
  expect(link.state()).toBe('attached');
  expect(caught(() => link.update(counter(), { expect: counter() }))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EPERM',
  });
  expect(attachedId()).toBe(pass().id);
  link.update(counter(), { expect: pass() });
  expect(attachedId()).toBe(counter().id);
});

test('a netlink attachment whose interface is gone is detached', () => {
  const link = counter().attachXdp({ ...at(), via: 'netlink' });
  netns.ip('link', 'delete', veth.a.name);
  expect(link.state()).toBe('detached');
  link.close();
});
