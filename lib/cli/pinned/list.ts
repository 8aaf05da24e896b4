import type { Command } from 'commander';
import type { LoadedProgram } from '../../loader/loaded.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { programLine } from './load.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

export function addList(program: Command): void {
  pinnedCommand(program, 'list', 'list the programs that were loaded with load, and where they are attached')
    .option('--all', 'list all BPF programs on this machine')
    .addHelpText(
      'after',
      `
Examples:
  $ node-ebpf list
  $ node-ebpf list --json | jq '.programs[].handle'
  $ node-ebpf list --all`,
    )
    .action(async (options: PinnedOptions & { all?: true }) => {
      if (options.all) return await listAll(options);
      await withPinned(options, async (loader) => {
        const programs = loader.listLoadedPrograms();
        if (options.json) printJson({ programs: programs.map(programLine) });
        else print(...(await describe(programs, options.pinRoot)));
      });
    });
}

async function listAll({ json }: PinnedOptions): Promise<void> {
  const { BpfProgram } = await import('../../program/program.ts');
  const programs = BpfProgram.list();
  if (json) return printJson({ programs });
  const { tableLines } = await import('../terminal/table.ts');
  print(
    ...tableLines(
      [{ head: 'id', align: 'right' }, { head: 'type' }, { head: 'name' }, { head: 'tag' }],
      programs.map(({ id, type, name, tag }) => [String(id), type, printable(name) || '-', tag]),
    ),
  );
}

async function describe(programs: readonly LoadedProgram[], root: string): Promise<string[]> {
  if (programs.length === 0) return [`nothing is loaded under ${printable(root)}`];
  const { tableLines } = await import('../terminal/table.ts');
  return tableLines(
    [
      { head: 'handle' },
      { head: 'id', align: 'right' as const },
      { head: 'type' },
      { head: 'attached to' },
      { head: 'from' },
    ],
    programs.map(({ handle, program, type, source, attachments }) => [
      printable(handle),
      String(program.id),
      type,
      printable(attachments.map(place).join(', ')) || '-',
      printable(source),
    ]),
  );
}

/** @internal */
export function place({ iface, netns, mode, hook }: LoadedProgram['attachments'][number]): string {
  if (iface === undefined) return hook;
  const within = netns === undefined ? '' : ` in ${netns}`;
  return `${iface}${within} (${mode ?? hook})`;
}
