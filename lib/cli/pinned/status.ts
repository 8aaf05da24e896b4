import { styleText } from 'node:util';
import type { Command } from 'commander';
import { bytes } from '../../format/units.ts';
import type { HealthReport } from '../../loader/health.ts';
import type { EbpfLoader } from '../../loader/loader.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { programLine } from './load.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

const COLOURS = { healthy: 'green', degraded: 'yellow', unhealthy: 'red' } as const;

export function addStatus(program: Command): void {
  pinnedCommand(
    program,
    'status',
    'check with the kernel that loaded programs are still attached and healthy',
  )
    .addHelpText(
      'after',
      `
Exit status: 0 if healthy, 1 if an attachment was removed or replaced from outside, or a map is nearly full.

Examples:
  $ node-ebpf status
  $ node-ebpf status --json | jq .status`,
    )
    .action(async (options: PinnedOptions) => {
      await withPinned(options, async (loader) => {
        const health = loader.health();
        if (health.status !== 'healthy') process.exitCode = 1;
        if (options.json) {
          const programs = loader.listLoadedPrograms().map(programLine);
          printJson({ ...health, stats: loader.getStats(), programs });
        } else {
          print(...(await describe(health, loader)));
        }
      });
    });
}

async function describe(health: HealthReport, loader: EbpfLoader): Promise<string[]> {
  const { tableLines } = await import('../terminal/table.ts');
  const { programs, attachments, mapBytes, runCount } = loader.getStats();
  const runs = runCount === undefined ? '' : `, ${runCount.toLocaleString('en-US')} runs`;
  return [
    `${coloured(health.status)}: ${printable(health.message)}`,
    `programs: ${programs}, attachments: ${attachments}, maps: ${bytes(mapBytes)}${runs}`,
    ...(health.components.length > 0 ? [''] : []),
    ...tableLines(
      [{ head: 'status' }, { head: 'component' }, { head: 'what the kernel says' }],
      health.components.map(({ status, component, message }) => [
        coloured(status),
        printable(component),
        printable(message),
      ]),
    ).slice(health.components.length > 0 ? 0 : 1),
  ];
}

function coloured(status: HealthReport['status']): string {
  return styleText(COLOURS[status], status, { stream: process.stdout });
}
