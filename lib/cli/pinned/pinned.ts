import { type Command, Option } from 'commander';
import type { EbpfLoader } from '../../loader/loader.ts';
import { printable } from '../terminal/output.ts';

// These commands work across processes: each recovers the pinned programs and leaves them pinned.

export interface PinnedOptions {
  pinRoot: string;
  json?: true;
}

/** The folder in which load and attach pin programs, maps and links. */
export const DEFAULT_PIN_ROOT = '/sys/fs/bpf/node-ebpf';

/** Adds a command with the options that all of these commands have. */
export function pinnedCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(
      new Option('--pin-root <folder>', 'folder of the pins, in a BPF file system')
        .env('NODE_EBPF_PIN_ROOT')
        .default(DEFAULT_PIN_ROOT),
    )
    .option('--json', 'print one JSON object');
}

/** Runs `work` with a loader that has recovered the pinned programs. They stay pinned when it is closed. */
export async function withPinned<T>(
  { pinRoot }: PinnedOptions,
  work: (loader: EbpfLoader) => Promise<T>,
): Promise<T> {
  const { EbpfLoader } = await import('../../loader/loader.ts');
  const loader = new EbpfLoader({ pinRoot });
  loader.on('warning', (message) => process.stderr.write(`warning: ${printable(message)}\n`));
  try {
    await loader.recover();
    return await work(loader);
  } finally {
    await loader.close();
  }
}
