// overhead-process.js WORK quick|whole: started by bench/overhead.js in a separate network namespace.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { BpfProgram, enableStats, loadObject } from '../dist/index.js';
import { SyscallLatency, TcClassifier, TracepointNet, XdpCounter } from '../dist/programs/index.js';
import { reference } from './maps.js';
import { median, ratio } from './measure.js';

const [, , work, extent] = process.argv;
const ROUNDS = extent === 'quick' ? 3 : 9;
// Rounds for the program's own time, which has a budget: nine rounds vary by a tenth when the work alternates
// between two processes.
const STATISTICS_ROUNDS = 3 * ROUNDS;
// The work of a turn takes two to four times as long, some tens of thousands of events: the first ones after
// attaching cost ten times as much as later ones (code and maps are in no cache), and should have no more
// weight than for a program that stays attached.
const CALIBRATION_NS = extent === 'quick' ? 2e6 : 250e6;
process.stdin.on('end', () => process.exit()).resume();

const EMPTY = new URL('../build/test-bpf/empty.bpf.o', import.meta.url);

const ip = (line) => execFileSync('ip', line.split(' '));

/** Each runs its work this many times and returns nanoseconds per run. */
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

/** A separate process, so that its system calls are those of a server. */
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

/**
 * Attaches the program, or empty programs in its place. A program that sees none of a kind of work is left
 * out of it.
 */
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

/**
 * Program runs per event. An event is a packet received, sent or dropped, or a system call with its entry and
 * its exit.
 */
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

/** Returns the nanoseconds per run, as the kernel counts them, of the programs that attach() attaches. */
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
    if (runs === 0) throw new Error('the measured program did not run');
    return grown('runTimeNs') / runs;
  } finally {
    for (const program of programs) program.close();
    attachment.close();
  }
}

/** Runs two in turn, alternating between both orders. */
async function inTurn(rounds, first, second) {
  const results = [[], []];
  for (let round = 0; round < rounds; round++) {
    const turns = [async () => results[0].push(await first()), async () => results[1].push(await second())];
    for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
  }
  return results;
}

/**
 * Returns the time of a run of the program alone and of the empty ones. The kernel counts half of its two
 * clock readings as the program's.
 */
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
