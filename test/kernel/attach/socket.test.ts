import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type BpfObject, loadObject } from '../../../lib/object/object.ts';
import { caught } from '../../helpers/caught.ts';
import { assertNothingLeft, fdCount, type Snapshot, snapshotIds } from '../../helpers/kernel.ts';
import { testObject } from '../../helpers/objects.ts';
import { until } from '../../helpers/until.ts';

let before: Snapshot;
let object: BpfObject;
let receiver: Socket;
let received: number;
beforeAll(async () => {
  before = snapshotIds();
  object = await loadObject(testObject('socket'));
});
beforeEach(async () => {
  received = 0;
  receiver = createSocket('udp4').on('message', () => received++);
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
});
afterEach(() => receiver.close());
afterAll(async () => {
  object.close();
  await assertNothingLeft(before);
});

// What Node gives no public name.
const fdOf = (socket: Socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd;
const packets = () =>
  Number(new DataView((object.map('packets').get(0) ?? new Uint8Array(8)).buffer).getBigUint64(0, true));

async function send(count: number): Promise<void> {
  const sender = createSocket('udp4');
  const { port } = receiver.address() as AddressInfo;
  for (let i = 0; i < count; i++)
    await new Promise<void>((sent) => sender.send('x', port, '127.0.0.1', () => sent()));
  sender.close();
}

test('counts the packets of the socket, exactly, until it is detached', async () => {
  const from = packets();
  const fds = fdCount();
  const link = object.program('keep').attachSocket(fdOf(receiver));
  expect(link).toMatchObject({ kind: 'socket_filter', owner: 'socket' });
  expect(link.id).toBeUndefined();
  expect(link.state()).toBe('attached');
  await send(50);
  await until(() => received === 50);
  expect(packets() - from).toBe(50);
  link.update(object.program('drop'));
  expect(link.state()).toBe('attached');
  await send(50);
  link.update(object.program('keep'), { expect: object.program('drop') });
  expect(caught(() => link.update(object.program('drop'), { expect: object.program('drop') }))).toMatchObject(
    { code: 'EEXIST' },
  );
  await send(1);
  await until(() => received === 51);
  link.detach();
  await send(10);
  await until(() => received === 61);
  expect(packets() - from).toBe(51);
  expect(fdCount()).toBe(fds);
});

test('a filter that is there is never replaced; close() takes ours off', () => {
  const fd = fdOf(receiver);
  const link = object.program('keep').attachSocket(fd);
  expect(caught(() => object.program('drop').attachSocket(fd))).toMatchObject({
    name: 'EbpfAttachError',
    code: 'EEXIST',
    message: expect.stringContaining('the socket has a filter'),
  });
  link.close();
  link.close();
  object.program('drop').attachSocket(fd).close();
});

test('the socket stays its owner’s: closing it ends the attachment, whoever gets the descriptor next', async () => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const fd = fdOf(socket);
  const link = object.program('keep').attachSocket(fd);
  const { port } = socket.address() as AddressInfo;
  socket.close();
  await once(socket, 'close');
  expect(link.state()).toBe('detached');
  // Nothing of ours keeps the port.
  const next = createSocket('udp4');
  next.bind(port, '127.0.0.1');
  await once(next, 'listening');
  expect(link.state()).toBe('detached');
  const theirs = fdOf(next) === fd ? object.program('keep').attachSocket(fd) : undefined;
  expect(caught(() => link.detach())).toMatchObject({ code: 'ENOENT' });
  link.close();
  expect(theirs?.state()).toBe(theirs && 'attached');
  theirs?.close();
  next.close();
});

test('no socket, no such program, no pin', async () => {
  const keep = object.program('keep');
  const file = openSync('/dev/null', 'r');
  expect(caught(() => keep.attachSocket(file))).toMatchObject({ name: 'EbpfAttachError', code: 'ENOTSOCK' });
  closeSync(file);
  expect(caught(() => keep.attachSocket(file))).toMatchObject({ name: 'EbpfAttachError', code: 'EBADF' });
  expect(caught(() => keep.attachSocket(-1))).toBeInstanceOf(TypeError);
  using xdp = await loadObject(testObject('pass'));
  expect(caught(() => xdp.program('pass').attachSocket(fdOf(receiver)))).toMatchObject({
    code: 'ERR_EBPF_PROGRAM_TYPE',
  });
  expect(caught(() => keep.attach())).toMatchObject({
    code: 'ERR_EBPF_NO_TARGET',
    hint: expect.stringContaining('attachSocket'),
  });
  using link = keep.attachSocket(fdOf(receiver));
  expect(caught(() => link.pin('/sys/fs/bpf/never'))).toMatchObject({ code: 'ERR_EBPF_NOT_PINNABLE' });
});
