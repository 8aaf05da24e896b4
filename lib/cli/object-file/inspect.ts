import { styleText } from 'node:util';
import type { Command } from 'commander';
import { bytes, plural } from '../../format/units.ts';
import type { ObjectInfo } from '../../object-file/inspect.ts';
import { print, printable, printJson } from '../terminal/output.ts';

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .description('show the programs, maps, licence and BTF of a BPF object file')
    .argument('<file>', 'an object file made by clang -target bpf')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The file is only read: no privilege is needed, and the kernel is not asked.

Examples:
  $ node-ebpf inspect xdp_counter.bpf.o
  $ node-ebpf inspect --json xdp_counter.bpf.o | jq '.programs[].section'`,
    )
    .action(async (file: string, options: { json?: true }) => {
      const { inspect } = await import('../../object-file/inspect.ts');
      const info = inspect(file);
      if (options.json) printJson(info);
      else print(...(await describe(file, info)));
    });
}

async function describe(file: string, info: ObjectInfo): Promise<string[]> {
  const { tableLines } = await import('../terminal/table.ts');
  const btf = info.hasBtf ? `yes, ${plural(info.coreRelocations, 'CO-RE relocation')}` : 'no';
  const summary = tableLines(
    [{ head: 'file' }, { head: printable(file) }],
    [
      ['size', bytes(info.bytes)],
      ['licence', printable(info.license) || 'none'],
      ['BTF', btf],
    ],
  );
  const programs = tableLines(
    [{ head: 'program' }, { head: 'section' }, { head: 'type' }, { head: 'instructions', align: 'right' }],
    info.programs.map(({ name, section, type, instructions }) => [
      printable(name),
      printable(section),
      printable(type),
      instructions.toLocaleString('en-US'),
    ]),
  );
  const maps = tableLines(
    [
      { head: 'map' },
      { head: 'type' },
      ...['key', 'value', 'entries', 'flags'].map((head) => ({ head, align: 'right' as const })),
    ],
    info.maps.map(({ name = '', type, keySize, valueSize, maxEntries, flags = 0 }) => [
      printable(name),
      printable(type),
      bytes(keySize),
      bytes(valueSize),
      maxEntries.toLocaleString('en-US'),
      flags === 0 ? '-' : `0x${flags.toString(16)}`,
    ]),
  );
  return [
    ...summary,
    '',
    ...(info.programs.length > 0 ? underHead(programs) : ['no programs']),
    '',
    ...(info.maps.length > 0 ? underHead(maps) : ['no maps']),
  ];
}

function underHead([head = '', ...rows]: readonly string[]): string[] {
  return [styleText('bold', head, { stream: process.stdout }), ...rows];
}
