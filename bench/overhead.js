// The cost of the bundled programs: the time of some work with and without each program, in turn, and the
// program's own time in the kernel's statistics. A process in a separate network namespace does the work, and
// ends with it.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { held } from './budgets.js';

const PROCESS = fileURLToPath(new URL('overhead-process.js', import.meta.url));
const WORK = {
  packets: 'overhead: packets over veth',
  calls: 'overhead: a read and a write in a loop',
  requests: 'overhead: requests to a Node HTTP server',
};
/** Event rates, per second, for which the share of a CPU is given. */
const RATES = [10_000, 50_000, 200_000];
const PROMISED = 50_000;

export const overhead = Object.entries(WORK).map(([work, name]) => ({
  name,
  async run({ quick, say }) {
    const rows = [];
    for await (const { program, via, nsPerEvent, emptyNsPerEvent, ns, ratio, rounds } of measured(
      work,
      quick,
    )) {
      const share = Object.fromEntries(RATES.map((rate) => [rate, (100 * rate * nsPerEvent) / 1e9]));
      rows.push({
        case: name,
        impl: program,
        via,
        against: 'without it',
        ns,
        ratio,
        garbageBytes: null,
        rounds,
        nsPerEvent,
        emptyNsPerEvent,
        percentOfCpu: share,
        // A negative time is a failed measurement and does not meet the budget.
        budgets: held('overhead', name, nsPerEvent > 0 ? share[PROMISED] : Number.NaN),
      });
      say(rows.at(-1));
    }
    return rows;
  },
}));

/** Yields one object for each program, which the process prints as a line of JSON. */
async function* measured(work, quick) {
  const child = spawn('unshare', ['--net', process.execPath, PROCESS, work, quick ? 'quick' : 'whole'], {
    stdio: ['pipe', 'pipe', 'inherit'], // it ends when its standard input is closed, and so with this process
  });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => {
      if (status === 0) resolve();
      else reject(new Error(`the process of ${WORK[work]} exited with status ${status}`));
    });
  });
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
  await ended;
}
