import { styleText } from 'node:util';
import type { Command } from 'commander';
import type { Finding } from '../../core/finding.ts';
import { plural } from '../../format/units.ts';
import type { VerifierVerdict } from '../../object-file/dry-run.ts';
import type { ValidationReport } from '../../object-file/validate.ts';
import { print, printable, printJson } from '../terminal/output.ts';

export function addValidate(program: Command): void {
  program
    .command('validate')
    .description('check whether a BPF object file can be loaded, and show what is wrong with it')
    .argument('<file>', 'an object file made by clang -target bpf')
    .option('--dry-run', 'also have the kernel verify each program, and show the cost')
    .option(
      '--btf <file>',
      "check CO-RE relocations against this kernel's BTF instead of the running kernel's",
    )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Exit status: 0 if the file is ok (there may be warnings), 1 if it is not.
Without --dry-run the file is only read, and no privilege is needed. With it, each program is loaded on its own, and
unloaded again.

Examples:
  $ node-ebpf validate xdp_counter.bpf.o
  $ sudo node-ebpf validate --dry-run xdp_counter.bpf.o
  $ node-ebpf validate --json xdp_counter.bpf.o | jq '.findings[].rule'`,
    )
    .action(async (file: string, options: { json?: true; dryRun?: true; btf?: string }) => {
      const { validate } = await import('../../object-file/validate.ts');
      const { json: _, ...rest } = options;
      const result = await validate(file, rest);
      if (!result.ok) process.exitCode = 1;
      if (options.json) printJson(result);
      else
        print(
          ...result.findings.flatMap(describe),
          ...(result.verifier ?? []).map(cost),
          verdict(file, result),
        );
    });
}

function describe({ rule, level, place, message, remedy }: Finding): string[] {
  const colour = level === 'error' ? 'red' : 'yellow';
  const label = styleText(colour, `${level}:`, { stream: process.stdout });
  const lines = [`${label} ${printable(place)}: ${printable(message)} [${rule}]`];
  if (remedy !== undefined) lines.push(`  remedy: ${printable(remedy)}`);
  return lines;
}

function cost({ program, ok, processed, peakStates, stackDepth }: VerifierVerdict): string {
  const word = ok ? 'accepted by the verifier' : 'refused by the verifier';
  const costs = [
    `${plural(processed, 'instruction')} processed`,
    `${plural(peakStates, 'state')} at once`,
    `${stackDepth} B of stack`,
  ];
  return `program ${printable(program)}: ${word} (${costs.join(', ')})`;
}

function verdict(file: string, { ok, findings, object }: ValidationReport): string {
  const found = (['error', 'warning'] as const)
    .map((level) => [level, findings.filter((finding) => finding.level === level).length] as const)
    .filter(([, number]) => number > 0)
    .map(([level, number]) => plural(number, level));
  const holds = object
    ? [plural(object.programs.length, 'program'), plural(object.maps.length, 'map')].join(', ')
    : '';
  const details = ok ? [holds, ...found] : found;
  const word = styleText(ok ? 'green' : 'red', ok ? 'ok' : 'not ok', { stream: process.stdout });
  return `${printable(file)}: ${word} (${details.join('; ')})`;
}
