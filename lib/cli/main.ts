#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addDoctor } from './doctor.ts';
import { addInspect } from './inspect.ts';
import { report, watchStdout } from './output.ts';
import { addTop } from './top.ts';
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
  .description('Counts packets with eBPF, looks into BPF object files, and says what this kernel can do.')
  .version(version)
  .configureOutput({ outputError: () => {} }) // report() says it, in one shape for every error
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  $ node-ebpf top eth0
  $ node-ebpf inspect xdp_counter.bpf.o
  $ node-ebpf validate --json xdp_counter.bpf.o
  $ node-ebpf doctor

Exit status: 0 done, 1 failed or not valid, 2 wrong use of the command line.
Colours follow NO_COLOR and FORCE_COLOR; NODE_DEBUG=node-ebpf prints the stack of an error.`,
  );

addTop(program);
addInspect(program);
addValidate(program);
addDoctor(program);

watchStdout();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, { json: process.argv.includes('--json') });
}
