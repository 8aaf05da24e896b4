// overhead-process.js WORK quick|whole, in a network namespace of its own: bench/overhead.js.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { BpfProgram, enableStats, loadObject } from '../dist/index.js';
import { SyscallLatency, TcClassifier, TracepointNet, XdpCounter } from '../dist/programs/index.js';
import { reference } from './maps.js';
import { median, ratio } from './measure.js';

const [, , work, extent] = process.argv;
const ROUNDS = extent === 'quick' ? 3 : 9;
// Of the program's own time, which is held against a budget: nine give or take a tenth where the work goes between two processes.
const STATISTICS_ROUNDS = 3 * ROUNDS;
// The work of a turn takes two to four times as long, some tens of thousands of events: the first after an attachment cost ten times
// what later ones do (code and maps are in no cache), and weigh here as they do where a program stays.
const CALIBRATION_NS = extent === 'quick' ? 2e6 : 250e6;
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

const SYSCALLS = ['sys_enter', 'sys_exit'];
const NET = ['net_dev_xmit', 'netif_receive_skb', 'kfree_skb', 'tcp_retransmit_skb', 'inet_sock_set_state'];

/** Attaches the program, and those that do nothing in its place; a program that sees nothing of a work is left out of it. */
const PROGRAMS = {
  xdp_counter: {
    sees: ['packets', 'requests'],
    attach: ({ iface }) => attached(XdpCounter.attach({ iface }), ({ link }) => link.mode),
    attachEmpty: ({ iface }, mode) => empty(['xdp'], (program) => program.attachXdp({ iface, mode })),
  },
  tc_classifier: {
    sees: ['packets', 'requests'],
    attach: ({ iface }) =>
      attached(TcClassifier.attach({ iface, direction: 'both' }), ({ links }) => links[0].via),
    attachEmpty: ({ iface }, via) =>
      empty(['tc'], (program) => {
        for (const direction of ['ingress', 'egress']) program.attachTc({ iface, direction, via });
      }),
  },
  tracepoint_net: {
    sees: ['packets', 'requests'],
    attach: () => attached(TracepointNet.attach(), () => 'tp_btf'),
    attachEmpty: () => empty(NET, (program) => program.attach()),
  },
  syscall_latency: {
    sees: ['calls', 'requests'],
    attach: () => attached(SyscallLatency.attach(), ({ via }) => via),
    attachEmpty: () => empty(SYSCALLS, (program) => program.attach()),
  },
};

/** An event is a packet that comes or goes or is dropped, or a system call: of that, the beginning and the end. */
const RUNS = { syscall_latency: 2 };

async function attached(promise, viaOf) {
  const program = await promise;
  return { via: viaOf(program), close: () => program.close() };
}

async function empty(names, attach) {
  const object = await loadObject(EMPTY, {
    programs: Object.fromEntries(names.map((name) => [name, { load: true }])),
  });
  for (const name of names) attach(object.program(name));
  return object;
}

const programIds = () => BpfProgram.list().map(({ id }) => id);

/** Nanoseconds of a run by the kernel's count, of whatever attach() attaches. */
async function nsPerRun(attach, run, times) {
  const before = new Set(programIds());
  const attachment = await attach();
  const programs = programIds()
    .filter((id) => !before.has(id))
    .map((id) => BpfProgram.fromId(id));
  try {
    const earlier = programs.map((program) => program.stats());
    await run(times);
    const later = programs.map((program) => program.stats());
    const grown = (name) => later.reduce((sum, stats, i) => sum + stats[name] - earlier[i][name], 0);
    const runs = grown('runCount');
    if (runs === 0) throw new Error('the program that is measured did not run');
    return grown('runTimeNs') / runs;
  } finally {
    for (const program of programs) program.close();
    attachment.close();
  }
}

/** Lets two take turns, in one order and then in the other. */
async function inTurn(rounds, first, second) {
  const results = [[], []];
  for (let round = 0; round < rounds; round++) {
    const turns = [async () => results[0].push(await first()), async () => results[1].push(await second())];
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
  }
  return results;
}

/** Of a run of the program alone, and of the empty ones: the kernel counts half of its own two clocks as the program's. */
async function byStatistics({ attach, attachEmpty }, { via, subject, times }) {
  const statistics = enableStats();
  try {
    const [whole, base] = await inTurn(
      STATISTICS_ROUNDS,
      () => nsPerRun(() => attach(subject), subject.run, times),
      () => nsPerRun(() => attachEmpty(subject, via), subject.run, times),
    );
    return { ns: median(whole.map((ns, round) => ns - base[round])), emptyNs: median(base) };
  } finally {
    statistics[Symbol.dispose]();
  }
}

ip('link set lo up');
const subject = await WORK[work]();
let times = 1;
for (let ns = 0; ns < CALIBRATION_NS; times *= 2) ns = times * (await subject.run(times));
for (const [name, program] of Object.entries(PROGRAMS)) {
  if (!program.sees.includes(work)) continue;
  const first = await program.attach(subject);
  const { via } = first;
  first.close();
  const { ns, emptyNs } = await byStatistics(program, { via, subject, times });
  const [without, withIt] = await inTurn(
    ROUNDS,
    () => subject.run(times),
    async () => {
      const attachment = await program.attach(subject);
      try {
        return await subject.run(times);
      } finally {
        attachment.close();
      }
    },
  );
  const runs = RUNS[name] ?? 1;
  const row = {
    program: name,
    via,
    nsPerEvent: runs * ns,
    emptyNsPerEvent: runs * emptyNs,
    ns: median(withIt),
    ratio: ratio(withIt, without),
    rounds: ROUNDS,
  };
  console.log(JSON.stringify(row));
}
process.exit();
