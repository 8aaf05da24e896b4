// overhead-process.js WORK quick|whole, in a network namespace of its own: bench/overhead.js.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { BpfProgram, enableStats, loadObject } from '../dist/index.js';
import { SyscallLatency, TcClassifier, TracepointNet, XdpCounter } from '../dist/programs/index.js';
import { reference } from './maps.js';
import { median, ratio } from './measure.js';

const [, , work, extent] = process.argv;
const ROUNDS = extent === 'quick' ? 3 : 21;
const SLICE_NS = extent === 'quick' ? 2e6 : 30e6;
process.stdin.on('end', () => process.exit()).resume();

const EMPTY = new URL('../build/test-bpf/empty.bpf.o', import.meta.url);

const ip = (line) => execFileSync('ip', line.split(' '));

/** The work: so many times, and the nanoseconds of each. */
const WORK = {
  packets() {
    ip('link add name bench0 type veth peer name bench1');
    for (const name of ['bench0', 'bench1']) ip(`link set ${name} up`);
    return { iface: 'bench1', run: (times) => reference.sendPackets('bench0', times) };
  },
  calls() {
    return { run: (times) => reference.readAndWrite(times) };
  },
  async requests() {
    const port = await startServer();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const request = () =>
      new Promise((resolve, reject) => {
        http
          .get({ agent, port, host: '127.0.0.1' }, (response) => response.resume().once('end', resolve))
          .once('error', reject);
      });
    return {
      iface: 'lo',
      async run(times) {
        const start = process.hrtime.bigint();
        await Promise.all(Array.from({ length: times }, request));
        return Number(process.hrtime.bigint() - start) / times;
      },
    };
  },
};

/** A process of its own, so that its system calls are those of a server. */
async function startServer() {
  const server = spawn(
    process.execPath,
    [
      '-e',
      `const server = require('node:http').createServer((_, response) => response.end('ok'));
       server.listen(0, '127.0.0.1', () => console.log(server.address().port));
       process.stdin.on('end', () => process.exit()).resume();`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const [line] = await once(server.stdout, 'data');
  return Number(line);
}

/** Attaches the program, and says how; those that see nothing of a work are left out of it. */
const PROGRAMS = {
  xdp_counter: ({ iface }) => iface && attached(XdpCounter.attach({ iface }), ({ link }) => link.mode),
  tc_classifier: ({ iface }) =>
    iface && attached(TcClassifier.attach({ iface, direction: 'both' }), ({ links }) => links[0].via),
  tracepoint_net: ({ iface }) => iface && attached(TracepointNet.attach(), () => 'tp_btf'),
  syscall_latency: () =>
    (work === 'calls' || work === 'requests') && attached(SyscallLatency.attach(), ({ via }) => via),
};

/** An event is a packet that comes or goes or is dropped, or a system call: of that, the beginning and the end. */
const RUNS = { syscall_latency: 2 };

async function attached(promise, viaOf) {
  const program = await promise;
  return { via: viaOf(program), close: () => program.close() };
}

const programIds = () => BpfProgram.list().map(({ id }) => id);

/** Nanoseconds of a run by the kernel's count: the median of several stretches. */
async function byStatistics(attach, run, times) {
  const before = new Set(programIds());
  const attachment = await attach();
  const programs = programIds()
    .filter((id) => !before.has(id))
    .map((id) => BpfProgram.fromId(id));
  const statistics = enableStats();
  try {
    const stretches = [];
    while (stretches.length < ROUNDS) stretches.push(await stretch(programs, run, times));
    return median(stretches);
  } finally {
    statistics[Symbol.dispose]();
    for (const program of programs) program.close();
    attachment.close();
  }
}

/** The kernel reads its clock before and after a run, and counts half of that as the program's. */
async function emptyRun() {
  const attach = async () => {
    const object = await loadObject(EMPTY);
    object.attachAll();
    return object;
  };
  return byStatistics(attach, (times) => reference.readAndWrite(times), 10_000);
}

async function stretch(programs, run, times) {
  const before = programs.map((program) => program.stats());
  await run(times);
  const after = programs.map((program) => program.stats());
  const grown = (name) => after.reduce((sum, stats, i) => sum + stats[name] - before[i][name], 0);
  const runs = grown('runCount');
  if (runs === 0) throw new Error('the program that is measured did not run');
  return grown('runTimeNs') / runs;
}

ip('link set lo up');
const empty = await emptyRun();
const subject = await WORK[work]();
let times = 1;
for (let ns = 0; ns < SLICE_NS; times *= 2) ns = times * (await subject.run(times));
for (const [program, attach] of Object.entries(PROGRAMS)) {
  const first = await attach(subject);
  if (!first) continue;
  const { via } = first;
  first.close();
  const ns = (await byStatistics(() => attach(subject), subject.run, times)) - empty;
  const nsPerEvent = ns * (RUNS[program] ?? 1);
  const [without, withIt] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    const turns = [
      async () => without.push(await subject.run(times)),
      async () => {
        const attachment = await attach(subject);
        withIt.push(await subject.run(times));
        attachment.close();
      },
    ];
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
  }
  const row = { program, via, nsPerEvent, ns: median(withIt), ratio: ratio(withIt, without), rounds: ROUNDS };
  console.log(JSON.stringify(row));
}
process.exit();
