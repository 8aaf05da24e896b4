import { type Command, Option } from 'commander';
import type { EbpfLoader } from '../../loader/loader.ts';
import { printable } from '../terminal/output.ts';

// The commands that work across processes: each takes over what is pinned, does one thing and leaves it pinned.

export interface PinnedOptions {
  pinRoot: string;
  json?: true;
}

/** Where load, attach, status, detach and unload keep what outlives them. */
export const DEFAULT_PIN_ROOT = '/sys/fs/bpf/node-ebpf';

/** The options that all of them have. */
export function pinnedCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(
      new Option('--pin-root <folder>', 'where it is kept, in a BPF file system')
        .env('NODE_EBPF_PIN_ROOT')
        .default(DEFAULT_PIN_ROOT),
    )
    .option('--json', 'print one JSON object');
}

/** A loader that has what earlier invocations left. Closing it leaves that as it is. */
export async function withPinned<T>(
  { pinRoot }: PinnedOptions,
  work: (loader: EbpfLoader) => Promise<T>,
): Promise<T> {
  const { EbpfLoader } = await import('../../loader/loader.ts');
  const loader = new EbpfLoader({ pinRoot });
  loader.on('warning', (words) => process.stderr.write(`warning: ${printable(words)}\n`));
  try {
    await loader.recover();
    return await work(loader);
  } finally {
    await loader.close();
  }
}
