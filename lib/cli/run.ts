import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addDoctor } from './doctor.ts';
import { addFlows } from './flows/flows.ts';
import { addLatency } from './latency/latency.ts';
import { addMap } from './map/map.ts';
import { addMaps } from './map/maps.ts';
import { addNet } from './net/net.ts';
import { addInspect } from './object-file/inspect.ts';
import { addValidate } from './object-file/validate.ts';
import { addAttach } from './pinned/attach.ts';
import { addDetach } from './pinned/detach.ts';
import { addList } from './pinned/list.ts';
import { addLoad } from './pinned/load.ts';
import { addStatus } from './pinned/status.ts';
import { addUnload } from './pinned/unload.ts';
import { addServe } from './serve/serve.ts';
import { report } from './terminal/output.ts';
import { addTop } from './top/top.ts';

// No command opens the addon, or reads more of the library than its own options, before it runs: --version and --help
// work on any machine.

interface Package {
  version: string;
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as Package;

/**
 * Runs one command line, `node` and the script not among its arguments. process.exitCode says how it ended: an error is
 * reported, and not thrown.
 */
export async function run(args: readonly string[]): Promise<void> {
  const program = new Command('node-ebpf')
    .description(
      'Loads and attaches eBPF programs, counts packets, shows maps, and says what this kernel can do.',
    )
    .version(version)
    .configureOutput({ outputError: () => {} }) // report() says it, in one shape for every error
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  $ node-ebpf top eth0
  $ node-ebpf serve eth0
  $ node-ebpf load xdp_counter.bpf.o
  $ node-ebpf attach xdp_counter-1 eth0
  $ node-ebpf map watch packet_counters
  $ node-ebpf inspect xdp_counter.bpf.o
  $ node-ebpf validate --json xdp_counter.bpf.o
  $ node-ebpf doctor

Exit status: 0 done, 1 failed or not valid, 2 wrong use of the command line.
Colours follow NO_COLOR and FORCE_COLOR; NODE_DEBUG=node-ebpf prints the stack of an error.`,
    );

  addTop(program);
  addLatency(program);
  addFlows(program);
  addNet(program);
  addServe(program);
  addLoad(program);
  addAttach(program);
  addStatus(program);
  addList(program);
  addDetach(program);
  addUnload(program);
  addMaps(program);
  addMap(program);
  addInspect(program);
  addValidate(program);
  addDoctor(program);

  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    process.exitCode = report(error, { json: args.includes('--json') });
  }
}
