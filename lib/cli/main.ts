#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addAttach } from './attach.ts';
import { addDetach } from './detach.ts';
import { addDoctor } from './doctor.ts';
import { addFlows } from './flows.ts';
import { addInspect } from './inspect.ts';
import { addLatency } from './latency.ts';
import { addList } from './list.ts';
import { addLoad } from './load.ts';
import { addMap } from './map.ts';
import { addMaps } from './maps.ts';
import { addNet } from './net.ts';
import { report, watchStdout } from './output.ts';
import { addServe } from './serve.ts';
import { addStatus } from './status.ts';
import { addTop } from './top.ts';
import { addUnload } from './unload.ts';
import { addValidate } from './validate.ts';

// No command opens the addon, or reads more of the library than its own options, before it runs: --version and --help
// work on any machine.

interface Package {
  version: string;
}

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as Package;

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

watchStdout();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, { json: process.argv.includes('--json') });
}
