// What a user does, on a machine that is not the one of the tests: load, attach to lo, read, detach. Prints what it saw, and what
// the kernel says of the same, as one line of JSON. Its own directory holds the package in node_modules.
import { createSocket } from 'node:dgram';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { BpfMap, BpfProgram, EbpfError } from 'node-ebpf';
import { SyscallLatency, TcClassifier, XdpCounter } from 'node-ebpf/programs';

const DATAGRAMS = 100;
const READS = 100;

/** Packets that lo has received, by the kernel's own count. */
function received() {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((text) => text.trim().startsWith('lo:'));
  return Number(line?.trim().split(/\s+/)[2]);
}

async function send() {
  const receiver = createSocket('udp4');
  await new Promise((bound) => receiver.bind(0, '127.0.0.1', bound));
  let arrived = 0;
  const all = new Promise((resolve) => receiver.on('message', () => ++arrived === DATAGRAMS && resolve()));
  const sender = createSocket('udp4');
  for (let i = 0; i < DATAGRAMS; i++) {
    await new Promise((sent) => sender.send('hello', receiver.address().port, '127.0.0.1', sent));
  }
  await all;
  sender.close();
  receiver.close();
}

const names = () => BpfProgram.list().map(({ name }) => name);
const total = (tallies) => tallies.reduce((sum, { packets }) => sum + packets, 0);

async function packets() {
  const counter = await XdpCounter.attach({ iface: 'lo' });
  const classifier = await TcClassifier.attach({ iface: 'lo' });
  const during = names();
  const before = received();
  await send();
  const lo = received() - before;
  const { other } = classifier.classes();
  const seen = {
    mode: counter.link.mode,
    udp: counter.read().udp.packets,
    all: total(Object.values(counter.read())),
    ingress: other.ingress.packets,
    egress: other.egress.packets,
    flows: classifier.flows().length,
  };
  classifier.close();
  counter.close();
  return { lo, during, after: names(), seen };
}

/** Reads of this process; the runtime's own threads may have made a few more. */
async function calls() {
  const latency = await SyscallLatency.attach({ via: 'raw_tp', syscalls: ['read'], pid: process.pid });
  const zero = openSync('/dev/zero');
  for (let i = 0; i < READS; i++) readSync(zero, new Uint8Array(1));
  closeSync(zero);
  const { count } = latency.read().read;
  latency.close();
  return count;
}

/** Each path of a reader that this kernel has, over the same rows. */
function readOuts() {
  const map = BpfMap.create({ type: 'percpu_array', keySize: 4, valueSize: 8, maxEntries: 300 });
  const value = new BigUint64Array(map.slotSize / 8);
  for (let key = 0; key < 300; key++) map.set(key, new Uint8Array(value.fill(BigInt(key)).buffer));
  const sums = {};
  for (const via of ['batch', 'snapshot', 'lookup']) {
    try {
      const reader = map.reader({ via });
      reader.read();
      sums[via] = reader.values.reduce((sum, number) => sum + number, 0);
      reader.close();
    } catch (error) {
      if (!(error instanceof EbpfError)) throw error;
      sums[via] = error.message;
    }
  }
  const cpus = value.length;
  map.close();
  return { sums, cpus };
}

function refused() {
  try {
    BpfMap.fromId(2 ** 31 - 1);
    return undefined;
  } catch (error) {
    return [error.constructor.name, error.code, error.message];
  }
}

console.log(
  JSON.stringify({
    arch: process.arch,
    packets: await packets(),
    calls: await calls(),
    readOuts: readOuts(),
    refused: refused(),
    addon: [...new Set(readFileSync('/proc/self/maps', 'utf8').match(/\/\S+\.node$/gm))],
  }),
);
