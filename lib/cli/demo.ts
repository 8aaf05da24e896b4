import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

/** Sends a few packets per second on 127.0.0.1 for --demo to count, between sockets of this process only. */
export async function startDemo(): Promise<{ stop(): void }> {
  const datagrams = createSocket('udp4').bind(0, '127.0.0.1');
  const server = createServer((socket) => socket.on('error', ignore).pipe(socket)).listen(0, '127.0.0.1');
  await Promise.all([once(datagrams, 'listening'), once(server, 'listening')]);
  datagrams.on('error', ignore);

  let turn = 0;
  const timer = setInterval(() => {
    const { port } = datagrams.address();
    const wave = 2 + Math.round(2 * Math.sin(turn / 3)); // makes the numbers vary
    for (let sent = 0; sent < wave; sent++) datagrams.send(Buffer.alloc(64 << wave), port, '127.0.0.1');
    if (turn++ % 4 === 0) greet((server.address() as AddressInfo).port);
  }, 250);
  return {
    stop() {
      clearInterval(timer);
      datagrams.close();
      server.close();
    },
  };
}

// Opens one connection, and sends a few bytes each way.
function greet(port: number): void {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', ignore);
  socket.once('data', () => socket.end());
  socket.write('hello from node-ebpf --demo\n');
}

// It does not matter if a packet or a connection is lost.
function ignore(): void {}
