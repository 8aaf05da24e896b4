import type { Command } from 'commander';
import { print, printable, printJson } from '../terminal/output.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

export function addUnload(program: Command): void {
  pinnedCommand(program, 'unload', 'unload a program, and remove its pins')
    .argument('<handle>', 'the handle that load printed')
    .option('--force', 'detach it first from everything it is attached to')
    .addHelpText(
      'after',
      `
The command ends when the kernel has freed the program, or reports what still holds it.

Examples:
  $ node-ebpf unload xdp_counter-1
  $ node-ebpf unload tc_count-1 --force`,
    )
    .action(async (handle: string, options: PinnedOptions & { force?: true }) => {
      await withPinned(options, async (loader) => {
        const unloaded = await loader.unloadProgram(handle, { force: options.force === true });
        if (!unloaded) process.exitCode = 1;
        if (options.json) printJson({ handle, unloaded });
        else if (unloaded) print(`${printable(handle)} is unloaded`);
      });
    });
}
