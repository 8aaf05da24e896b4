import type { Command } from 'commander';
import { bytes } from '../../format/units.ts';
import { print, printable, printJson } from '../terminal/output.ts';

export function addMaps(program: Command): void {
  program
    .command('maps')
    .description('list all BPF maps on this machine')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Needs CAP_SYS_ADMIN. Memory is the amount that the kernel charges for the map now.

Examples:
  $ node-ebpf maps
  $ node-ebpf maps --json | jq '.maps[] | select(.memoryBytes > 1e6) | .id'`,
    )
    .action(async ({ json }: { json?: true }) => {
      const { BpfMap } = await import('../../map/map.ts');
      const maps = BpfMap.list();
      if (json) return printJson({ maps });
      const { tableLines } = await import('../terminal/table.ts');
      const right = (head: string) => ({ head, align: 'right' as const });
      print(
        ...tableLines(
          [
            right('id'),
            { head: 'type' },
            { head: 'name' },
            ...['key', 'value', 'entries', 'memory'].map(right),
          ],
          maps.map(({ id, type, name = '', keySize, valueSize, maxEntries, memoryBytes }) => [
            String(id),
            type,
            printable(name) || '-',
            bytes(keySize),
            bytes(valueSize),
            maxEntries.toLocaleString('en-US'),
            bytes(memoryBytes),
          ]),
        ),
      );
    });
}
